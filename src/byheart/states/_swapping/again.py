"""Running a block again for some of its tokens, with attention's stored result in its place.

Everything in a decoder block but attention treats tokens one by one. So what autograd saved for the
last tokens can be had by running the block on these tokens alone, where the one operation that mixes
tokens returns what it returned before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = ["Forward", "Setting", "Watch", "only_tokens", "quiet_buffers"]

Attention = F.scaled_dot_product_attention
Dropouts: tuple[Callable[..., Any], ...] = (F.dropout,)


class Setting:
    """What a block's pass depends on beside its arguments: autocast, and where randomness stood."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        kind = device.type
        self._autocast: dict[str, Any] = {
            "device_type": kind, "enabled": torch.is_autocast_enabled(kind),
            "dtype": torch.get_autocast_dtype(kind), "cache_enabled": torch.is_autocast_cache_enabled(),
        }  # fmt: skip
        self.mixed = bool(self._autocast["enabled"])
        self.random = random_state(device)

    @contextlib.contextmanager
    def again(self) -> Iterator[None]:
        """As it was; afterwards randomness stands where it stood before."""
        with (
            torch.enable_grad(),
            torch.autocast(**self._autocast),
            at_random(self.random, self.device),
        ):
            yield


def random_state(device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Where the generators stand."""
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), cuda


@contextlib.contextmanager
def at_random(
    state: tuple[torch.Tensor, torch.Tensor | None], device: torch.device
) -> Iterator[None]:
    """Generators put to a state, and put back."""
    before = random_state(device)
    _put(state, device)
    try:
        yield
    finally:
        _put(before, device)


def _put(state: tuple[torch.Tensor, torch.Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)


class Forward(TorchFunctionMode):
    """A block's pass: attention and dropout are told apart, and what they need later is noted.

    Attributes:
        inside: What runs now: "attention", "dropout", or "" for all else.
        results: Attention's results, in order of the calls.
        drops: Shape and place of randomness of every dropout call.
        arguments: q, k and v of the attention call that runs.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device
        self.inside = ""
        self.results: list[torch.Tensor] = []
        self.drops: list[tuple[torch.Size, Any]] = []
        self.arguments: tuple[torch.Tensor, ...] = ()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is Attention:
            self.inside = "attention"
            self.arguments = tuple(_given(args, kwargs, ("query", "key", "value")))
            try:
                result = func(*args, **kwargs)
            finally:
                self.inside = ""
            self.results.append(result)
            return result
        if func in Dropouts:
            p, training = _dropout(args, kwargs)
            if not training or p == 0.0:
                return func(*args, **kwargs)
            self.inside = "dropout"
            self.drops.append(
                ((args[0] if args else kwargs["input"]).shape, random_state(self._device))
            )
            try:
                return func(*args, **kwargs)
            finally:
                self.inside = ""
        return func(*args, **kwargs)


class Watch(TorchFunctionMode):
    """The same pass for the tokens from `begin` on.

    Args:
        begin: First token.
        length: Tokens of the sequence.
        results: Attention's results for all tokens.
        drops: Of the first pass.
        device: Where.
    """

    def __init__(
        self, begin: int, length: int, results: list[torch.Tensor],
        drops: list[tuple[torch.Size, Any]], device: torch.device,
    ) -> None:  # fmt: skip
        super().__init__()
        self._begin, self._length, self._device = begin, length, device
        self._results, self._drops = iter(results), iter(drops)
        self.inside = ""
        self.arguments: list[tuple[torch.Tensor, ...]] = []

    def forget(self) -> None:
        """Hold no tensor any more."""
        self.arguments.clear()
        self._results = iter(())
        self._drops = iter(())

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is Attention:
            self.inside = "attention"
            try:
                self.arguments.append(tuple(_given(args, kwargs, ("query", "key", "value"))))
                whole = next(self._results)
                part = whole.narrow(-2, self._begin, self._length - self._begin)
                return part.detach().requires_grad_(whole.is_floating_point())
            finally:
                self.inside = ""
        if func in Dropouts:
            p, training = _dropout(args, kwargs)
            if not training or p == 0.0:
                return func(*args, **kwargs)
            x = args[0] if args else kwargs["input"]
            shape, state = next(self._drops)
            self.inside = "dropout"
            try:
                with at_random(state, self._device):
                    # The same numbers are drawn for the same shape; each is 0 or 1 / (1 - p).
                    mask = F.dropout(torch.ones(shape, dtype=x.dtype, device=x.device), p, True)
                return x * only_tokens(mask, x.shape, self._begin)
            finally:
                self.inside = ""
        return func(*args, **kwargs)


def _given(args: Any, kwargs: Any, names: tuple[str, ...]) -> Iterator[torch.Tensor]:
    for i, name in enumerate(names):
        yield args[i] if i < len(args) else kwargs[name]


def _dropout(args: Any, kwargs: Any) -> tuple[float, bool]:
    p = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
    training = args[2] if len(args) > 2 else kwargs.get("training", True)
    return float(p), bool(training)


def only_tokens(tensor: torch.Tensor, wanted: torch.Size, begin: int) -> torch.Tensor:
    """The part of a tensor for the tokens from `begin` on, whose shape is `wanted`."""
    if tensor.shape == wanted:
        return tensor
    dims = [d for d, (a, b) in enumerate(zip(tensor.shape, wanted, strict=True)) if a != b]
    return tensor.narrow(dims[0], begin, tensor.shape[dims[0]] - begin)


@contextlib.contextmanager
def quiet_buffers(block: torch.nn.Module) -> Iterator[None]:
    """A second pass leaves running statistics as the first one left them."""
    kept = [(b, b.detach().clone()) for b in block.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)
