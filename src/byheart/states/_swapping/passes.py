"""One forward pass of one block: what autograd saved, where it went, and how it comes back."""

from __future__ import annotations

import threading
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from byheart.core.errors import ModelError
from byheart.states._planner.alpha import LayerSplit
from byheart.states._swapping.again import Forward, Setting, Watch, quiet_buffers
from byheart.states._swapping.host import Room
from byheart.states._swapping.streams import Done

if TYPE_CHECKING:
    from byheart.states._swapping.swapper import ActivationSwapper

__all__ = ["Pass", "Saved"]

_SMALL = 1 << 10
"""Bytes below which a tensor stays where it is."""


class Content:
    """A saved tensor's values. Several saved tensors can have the same: it is kept once."""

    def __init__(self, tensor: torch.Tensor, role: str, index: int, place: int) -> None:
        self.tensor: torch.Tensor | None = tensor
        self.role, self.index, self.place = role, index, place
        self.shape, self.dtype, self.version = tensor.shape, tensor.dtype, tensor._version
        self.bytes = tensor.numel() * tensor.element_size()
        self.spoilt = False
        self.dim: int | None = None
        self.counts = (0, 0, 0)  # tokens swapped, kept, run again
        self.host: torch.Tensor | None = None
        self.stays: torch.Tensor | None = None
        self.device: torch.Tensor | None = None
        self.dense = dense(tensor)
        # A dense tensor keeps its strides, and lies on the host in the order in which it lay.
        self.stride = (
            tensor.stride() if self.dense else torch.empty(self.shape, device="meta").stride()
        )
        self.order = sorted(range(tensor.dim()), key=lambda d: (-self.stride[d], d))

    def forget(self) -> None:
        self.tensor = self.host = self.stays = self.device = None

    def check(self) -> None:
        if self.tensor is not None and self.tensor._version != self.version:
            self.spoilt = True


class Saved:
    """What autograd holds in place of a tensor."""

    __slots__ = ("__weakref__", "content", "keeper", "shape", "stride")

    def __init__(self, keeper: Pass, content: Content, tensor: torch.Tensor) -> None:
        self.keeper, self.content = keeper, content
        self.shape, self.stride = tensor.shape, tensor.stride()


@dataclass
class Sizes:
    """Bytes of one pass, for the split."""

    input: int = 0
    attention: int = 0
    others: int = 0
    fixed: int = 0
    seconds: float = 0.0


class Pass:
    """A pass of block `layer`; see `ActivationSwapper`."""

    def __init__(
        self, swapper: ActivationSwapper, layer: int, block: torch.nn.Module, x: torch.Tensor,
        args: tuple[Any, ...], kwargs: dict[str, Any], before: Pass | None,
    ) -> None:  # fmt: skip
        self.swapper, self.layer, self.block = swapper, layer, block
        self.args, self.kwargs = marked(x, args, kwargs)
        self.x_grad = x.requires_grad
        self.setting = Setting(x.device)
        self.mode = Forward(x.device)
        self.before = None if before is None else weakref.ref(before)
        self.room: Room | None = None
        self.done: Done | None = None
        self.back: Done | None = None
        self.began = time.perf_counter()
        self.contents: list[Content] = []
        self._by_place: dict[Any, Content] = {}
        self._own = {p.untyped_storage().data_ptr() for p in block.parameters()}
        self._own |= {b.untyped_storage().data_ptr() for b in block.buffers()}
        mine = x.untyped_storage().data_ptr()
        for value in _tensors((self.args, self.kwargs)):
            if value.untyped_storage().data_ptr() != mine:
                self._own.add(value.untyped_storage().data_ptr())  # shared by all layers
        self._count = self._places = 0
        self._lock = threading.RLock()
        self.restored = False
        self.fetched = False
        self.touched = False
        self.whole_again = False
        self.result_contents: list[Content] = []
        self.batch, self.length = (x.shape[0], x.shape[1]) if x.dim() == 3 else (0, 0)
        self.input = self._content(x, "input", -1)

    # Forward

    def pack(self, tensor: torch.Tensor) -> Any:
        """Called by autograd for everything that it saves in the block."""
        inside = self.mode.inside
        index = -1
        place, self._places = self._places, self._places + 1
        if not inside:
            index, self._count = self._count, self._count + 1
        if tensor.untyped_storage().data_ptr() in self._own or not self._worth(tensor):
            return tensor.detach()
        role = "fixed"
        if inside == "attention":
            for name, given in zip("qkv", self.mode.arguments, strict=False):
                if _same(tensor, given):
                    role, index = name, len(self.mode.results)
        elif not inside:
            role = "other"
        return Saved(self, self._content(tensor, role, index, place), tensor)

    @staticmethod
    def _worth(tensor: torch.Tensor) -> bool:
        return (
            type(tensor) in (torch.Tensor, torch.nn.Parameter)
            and tensor.layout is torch.strided
            and tensor.numel() * tensor.element_size() >= _SMALL
            and not tensor.is_quantized
        )

    def _content(self, tensor: torch.Tensor, role: str, index: int, place: int = -1) -> Content:
        tensor = tensor.detach()
        layout = () if dense(tensor) else (tuple(tensor.shape), tensor.stride())
        key = (
            tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.numel(),
            tensor.dtype, layout, tensor._version,
        )  # fmt: skip
        found = self._by_place.get(key)
        if found is None:
            found = self._by_place[key] = Content(tensor, role, index, place)
            self.contents.append(found)
        return found

    def sizes(self) -> Sizes:
        """Bytes by kind, once the block has run."""
        out = Sizes(seconds=time.perf_counter() - self.began)
        for c in self.contents:
            if c is self.input:
                out.input += c.bytes
            elif c in self.result_contents:
                out.attention += c.bytes
            elif self._token_dim(c) is None:
                out.fixed += c.bytes
            else:
                out.others += c.bytes
        return out

    def end(self) -> None:
        """Attention's results are stored whole, whatever autograd saved of them."""
        self.result_contents = [self._content(r, "result", -1) for r in self.mode.results]
        self._shapes = {
            id(c): (r.shape, r.stride())
            for c, r in zip(self.result_contents, self.mode.results, strict=True)
        }
        for c in self.contents:
            c.dim = self._token_dim(c)

    def _token_dim(self, content: Content) -> int | None:
        """Which dimension counts tokens; None where none does or it cannot be told."""
        if content.role in "qkv" and len(content.shape) == 4:
            return 2
        if content.role != "other" or content is self.input or content in self.result_contents:
            return None
        dims = [d for d, n in enumerate(content.shape) if n == self.length]
        usual = {3: 1, 2: 0}.get(len(content.shape), -1)  # [B, T, D], and [T, D] of one sequence
        if len(dims) > 1 and usual in dims and (usual == 0 or content.shape[0] == self.batch):
            return usual if usual or self.batch == 1 else None
        if self.batch > 1 and content.shape and content.shape[0] == self.batch * self.length:
            return None if dims else -1  # tokens of all sequences in one dimension
        return dims[0] if len(dims) == 1 else None

    def settle(self, split: LayerSplit) -> None:
        """Send to the host, keep and drop, as the split has it; after the block has run."""
        swapper = self.swapper
        for c in self.contents:
            c.check()
        self.mode.results.clear()
        self.mode.arguments = ()
        self._by_place.clear()
        if not split.offloads:
            return
        swap, keep, again = split.tokens(self.length) if self.length else (0, 0, 0)
        if again and self.whole_again:
            swap, keep = 0, 0
        going: list[tuple[Content, torch.Tensor]] = []
        for c in self.contents:
            tensor = c.tensor
            if tensor is None or c.spoilt:
                continue
            if again and self.whole_again and c is not self.input:
                c.counts = (0, 0, 1)
                c.tensor = None
                continue
            moved = tensor
            if again and not self.whole_again and c.dim is not None:
                c.counts = (swap, keep, again)
                cut = self._cut(c, tensor)
                moved = cut.narrow(self._axis(c), 0, swap)
                if keep:
                    c.stays = cut.narrow(self._axis(c), swap, keep).clone()
            if moved.numel():
                going.append((c, moved))
        sizes = [moved.numel() * moved.element_size() for _, moved in going]
        self.room = swapper.pool_room(sizes)
        pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
        for (c, moved), size in zip(going, sizes, strict=True):
            if moved.dim() != len(c.order):
                c.order = list(range(moved.dim()))
            ordered = moved.permute(c.order)
            c.host = self.room.take(size).view(c.dtype).view(ordered.shape)
            pairs.append((c.host, ordered))
        self.done = swapper.streams.out(pairs)
        swapper.count(self)

    def release(self) -> None:
        """The copies are made: let go of the device's tensors."""
        if self.done is None:
            return
        self.done.wait()
        for c in self.contents:
            c.check()
            if c.host is not None or c.counts[2]:
                c.tensor = None

    def _cut(self, content: Content, tensor: torch.Tensor) -> torch.Tensor:
        """With a dimension of its own for tokens."""
        if content.dim == -1:
            return tensor.reshape(self.batch, self.length, *tensor.shape[1:])
        return tensor

    @staticmethod
    def _axis(content: Content) -> int:
        assert content.dim is not None
        return 1 if content.dim == -1 else content.dim

    # Backward

    def unpack(self, saved: Saved) -> torch.Tensor:
        """Called by autograd for everything that it needs again."""
        content = saved.content
        with self._lock:
            self.check()
            content.check()
            if content.spoilt:
                raise ModelError(
                    f"a tensor of shape {tuple(content.shape)} that layer {self.layer} saved for its "
                    "backward pass was changed by an in-place operation; replace that operation, or "
                    "leave this layer out"
                )
            if content.tensor is None and not self.restored:
                self.restore()
            assert content.tensor is not None
            value = content.tensor
        if value.shape == saved.shape and value.stride() == saved.stride:
            return value
        if content.dense and value.stride() == content.stride:  # the same bytes, seen otherwise
            view = value.as_strided(saved.shape, saved.stride)
            self.swapper.buffers.watch(self.layer, view)
            return view
        return value.reshape(saved.shape)

    def check(self) -> None:
        """The first need of this pass starts fetching the one before it."""
        if self.touched:
            return
        self.touched = True
        earlier = None if self.before is None else self.before()
        if earlier is not None:
            earlier.fetch()

    def fetch(self) -> None:
        """Start copying back, once."""
        with self._lock:
            if self.fetched or self.done is None:
                return
            self.release()
            self.fetched = True
            mine = [c for c in self.contents if c.host is not None]
            hosts = [c.host for c in mine if c.host is not None]
            taken = self.swapper.buffers.take(self.layer, [(h.shape, h.dtype) for h in hosts])
            for c, device in zip(mine, taken, strict=True):
                c.device = device
            self.back = self.swapper.streams.back(list(zip(taken, hosts, strict=True)))

    def restore(self) -> None:
        """Wait for what was swapped, run the block again for what was dropped."""
        self.fetch()
        if self.back is not None:
            self.back.wait()
        again = any(c.counts[2] for c in self.contents)
        for c in self.contents:
            if c.device is not None:
                inverse = [0] * len(c.order)
                for to, d in enumerate(c.order):
                    inverse[d] = to
                c.device = c.device.permute(inverse)
                if not c.counts[2]:
                    c.tensor = c.device
                    self.swapper.buffers.watch(self.layer, c.tensor)
                    c.device = None
        if again:
            begin = (
                0
                if self.whole_again
                else next(c.counts[0] + c.counts[1] for c in self.contents if c.counts[2])
            )
            found = self.run_again(begin, whole=self.whole_again)
            if not self.whole_again and int(found["count"]) != self._count:
                # Other experts were asked, or the like: what was saved cannot be told apart. As a
                # whole the block does what it did.
                self.whole_again = True
                found = self.run_again(0, whole=True)
            for c in self.contents:
                if c.counts[2]:
                    c.tensor = self._joined(c, found)
                    c.device = c.stays = None
        for c in self.contents:
            if c.tensor is not None:
                c.version = c.tensor._version
        self.restored = True

    def _joined(self, c: Content, found: dict[Any, torch.Tensor]) -> torch.Tensor:
        part = found.get(c.place if self.whole_again else (c.role, c.index))
        if part is None or (self.whole_again and part.shape != c.shape):
            raise ModelError(
                f"layer {self.layer} saved other tensors when it ran again; it does not do the same "
                "thing twice. Give alpha=1, so that nothing is run again"
            )
        if part.shape == c.shape:
            return part
        value = torch.empty_strided(c.shape, c.stride, dtype=c.dtype, device=part.device)
        into, axis = self._cut(c, value), self._axis(c)
        pieces = [p for p in (c.device, c.stays) if p is not None]
        rest = into.shape[axis] - sum(p.shape[axis] for p in pieces)
        if part.numel() != into.narrow(axis, 0, rest).numel():
            raise ModelError(
                f"layer {self.layer} saved a tensor of shape {tuple(c.shape)}, and for {rest} of its "
                f"tokens one of {tuple(part.shape)}; give alpha=1, so that nothing is run again"
            )
        at = 0
        for piece in pieces:
            into.narrow(axis, at, piece.shape[axis]).copy_(piece)
            at += piece.shape[axis]
        last = into.narrow(axis, at, rest)
        last.copy_(part.reshape(last.shape))
        return value

    def run_again(self, begin: int, *, whole: bool = False) -> dict[Any, torch.Tensor]:
        """What autograd saves for the tokens from `begin` on, by role and index.

        With `whole` the block is run as it was, attention too, and tensors go by place.
        """
        found: dict[Any, torch.Tensor] = {}
        count = 0
        x = self.input.tensor
        assert x is not None
        length = self.length
        results = [] if whole else [self._result(c) for c in self.result_contents]
        watch: Any = (
            Forward(x.device) if whole else Watch(begin, length, results, self.mode.drops, x.device)
        )

        def pack(tensor: torch.Tensor) -> None:
            nonlocal count
            if whole:
                found[count] = tensor.detach()
            elif watch.inside:
                return
            else:
                found["other", count] = tensor.detach()
            count += 1

        def nothing(packed: None) -> torch.Tensor:
            raise AssertionError("the graph of a second pass is never walked")

        part = (x if whole else x.narrow(1, begin, length - begin)).detach()
        part.requires_grad_(self.x_grad)
        args, kwargs = self.call(part, begin if not whole else 0)
        with (
            quiet_buffers(self.block),
            self.setting.again(),
            torch.autograd.graph.saved_tensors_hooks(pack, nothing),
            watch,
        ):
            self.block.forward(*args, **kwargs)
        if not whole:
            for call, given in enumerate(watch.arguments):
                for name, tensor in zip("qkv", given, strict=False):
                    found[name, call] = tensor.detach()
            watch.forget()
        found["count"] = torch.tensor(count)
        return found

    def _result(self, content: Content) -> torch.Tensor:
        """Attention's result as it was returned: [B, heads, T, head width]."""
        assert content.tensor is not None
        shape, stride = self._shapes[id(content)]
        if content.tensor.shape == shape:
            return content.tensor
        return content.tensor.as_strided(shape, stride)

    def call(self, part: torch.Tensor, begin: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The block's arguments for the tokens from `begin` on."""
        length = self.length

        def cut(value: Any) -> Any:
            if value is _X:
                return part
            if isinstance(value, torch.Tensor):
                if begin and value.dim():
                    dims = [d for d, n in enumerate(value.shape) if n == length]
                    if len(dims) == 1:
                        return value.narrow(dims[0], begin, length - begin)
                return value
            if isinstance(value, tuple | list) and type(value) in (tuple, list):
                return type(value)(cut(v) for v in value)
            if hasattr(value, "update") and hasattr(value, "get_seq_length"):
                return None  # a key/value cache would take in the same tokens once more
            return value

        return cut(self.args), {k: cut(v) for k, v in self.kwargs.items()}

    def __del__(self) -> None:
        self.leave()

    def leave(self) -> None:
        """All that autograd held of this pass is gone: give its host memory back."""
        for c in self.contents:
            c.forget()
        if self.room is not None:
            if self.done is not None:
                self.done.wait()
            self.room.leave()
            self.room = None


def dense(tensor: torch.Tensor) -> bool:
    """Whether its elements fill a stretch of memory without gaps or overlaps, in any order."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return True


class _Here:
    """Stands for the layer's input among its arguments."""


_X = _Here()


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [t for v in value.values() for t in _tensors(v)]
    if isinstance(value, tuple | list):
        return [t for v in value for t in _tensors(v)]
    return []


def _same(a: torch.Tensor, b: Any) -> bool:
    return (
        isinstance(b, torch.Tensor)
        and a.data_ptr() == b.data_ptr()
        and a.shape == b.shape
        and a.stride() == b.stride()
    )


def marked(x: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Arguments with the layer's input taken out, so that holding them does not hold it."""
    return (
        tuple(_X if a is x else a for a in args),
        {k: (_X if v is x else v) for k, v in kwargs.items()},
    )


def verified(keeper: Pass, begin: int) -> bool:
    """Whether running again gives for each tensor what the first pass saved of these tokens."""
    try:
        found = keeper.run_again(begin)
    except (RuntimeError, TypeError, ValueError, IndexError, StopIteration, ModelError):
        return False  # it cannot be run on some of its tokens
    if int(found["count"]) != keeper._count:
        return False
    for c in keeper.contents:
        if c.dim is None or c.tensor is None:
            continue
        part = found.get((c.role, c.index))
        if part is None:
            return False
        cut, axis = keeper._cut(c, c.tensor), keeper._axis(c)
        wanted = cut.narrow(axis, begin, keeper.length - begin)
        if part.shape == c.shape and part.numel() != wanted.numel():
            wanted = c.tensor
        elif part.numel() != wanted.numel():
            return False
        part = part.reshape(wanted.shape)
        if wanted.is_floating_point():
            # Other shapes are rounded in another order; tokens that were mixed are off by far more.
            near = 1e-9 if c.dtype is torch.float64 else 1e-4 if c.dtype is torch.float32 else 3e-2
            near = 3e-2 if keeper.setting.mixed else near
            scale = float(wanted.abs().amax()) if wanted.numel() else 0.0
            if not torch.allclose(
                part, wanted, rtol=near, atol=near * max(scale, 1e-30), equal_nan=True
            ):
                return False
        elif not torch.equal(part, wanted):
            return False
    return True
