"""Training only the upper layers of a decoder, with what the lower ones say kept in memory.

The lower layers are frozen, so the hidden states they hand upwards never change: each text passes
them once, and every later step starts from the kept states. Shape suffixes: B texts, T tokens,
D hidden width, N scored positions, V vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Document", "Upper", "decoder_layers"]


@dataclass(frozen=True)
class Document:
    """A text as token ids, of which `first..len(ids)-1` are learned.

    Attributes:
        ids: Token ids.
        first: Index of the first learned token, at least 1.
        keep: Whether its hidden states are kept for a later step.
    """

    ids: tuple[int, ...]
    first: int
    keep: bool = True


def decoder_layers(module: Any) -> Any:
    """The ``ModuleList`` of decoder layers, or None where none can be told apart."""
    import torch

    config = module.config
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    count = getattr(config, "num_hidden_layers", None) or getattr(config, "n_layer", None)
    for part in module.modules():
        if isinstance(part, torch.nn.ModuleList) and len(part) == count:
            return part
    return None


@dataclass(frozen=True)
class _Layout:
    """A batch as the decoder is given it.

    Attributes:
        inputs: Keyword arguments of the forward pass.
        places: Per text, the row and the columns of its tokens.
        row_N, column_N: Where the logits of the learned tokens are.
        target_N: The learned tokens.
        text_N: Which text of the batch each belongs to (on the CPU).
    """

    inputs: dict[str, Any]
    places: list[tuple[int, Any]]
    row_N: Any
    column_N: Any
    target_N: Any
    text_N: Any


def _layout(batch: Sequence[Document], inputs: dict[str, Any], places: list[Any]) -> _Layout:
    import torch

    device = inputs["input_ids"].device
    columns = [c[d.first - 1 : len(d.ids) - 1] for d, (_, c) in zip(batch, places, strict=True)]
    counts = torch.tensor([len(c) for c in columns])
    rows = torch.tensor([row for row, _ in places])
    targets = torch.tensor([t for d in batch for t in d.ids[d.first :]])
    return _Layout(
        inputs,
        places,
        rows.repeat_interleave(counts).to(device),
        torch.cat(columns).to(device),
        targets.to(device),
        torch.arange(len(batch)).repeat_interleave(counts),
    )


def _padded(batch: Sequence[Document], device: Any) -> _Layout:
    """One row a text, padded at the right, where a causal model does not look."""
    import torch

    ids_BT = torch.zeros(len(batch), max(len(d.ids) for d in batch), dtype=torch.long)
    places = []
    for b, d in enumerate(batch):
        ids_BT[b, : len(d.ids)] = torch.tensor(d.ids)
        places.append((b, torch.arange(len(d.ids))))
    return _layout(batch, {"input_ids": ids_BT.to(device)}, places)


def _packed(batch: Sequence[Document], device: Any, dtype: Any) -> _Layout:
    """One row for all: the tree of the texts' tokens. A token attends to itself and its ancestors."""
    import torch

    node_of: dict[tuple[int, int], int] = {}
    tokens: list[int] = []
    depth: list[int] = []
    parent: list[int] = []
    places = []
    for d in batch:
        at, path = -1, []
        for i, token in enumerate(d.ids):
            node = node_of.get((at, token))
            if node is None:
                node = node_of[at, token] = len(tokens)
                tokens.append(token)
                depth.append(i)
                parent.append(at)
            at = node
            path.append(node)
        places.append((0, torch.tensor(path)))
    size = len(tokens)
    sees_TT = torch.eye(size, dtype=torch.bool)
    for node, above in enumerate(parent):
        if above >= 0:
            sees_TT[node] |= sees_TT[above]
    mask = torch.zeros(1, 1, size, size, dtype=dtype)
    mask.masked_fill_(~sees_TT, torch.finfo(dtype).min)
    inputs = {
        "input_ids": torch.tensor([tokens], device=device),
        "position_ids": torch.tensor([depth], device=device),
        "attention_mask": mask.to(device),
    }
    return _layout(batch, inputs, places)


class _Lower(Exception):
    def __init__(self, hidden: Any) -> None:
        super().__init__()
        self.hidden = hidden


@dataclass
class Upper:
    """Logits at the learned positions, from the kept states of the frozen lower layers.

    Args:
        module: The whole causal language model.
        layers: Its decoder layers, or None (then nothing is kept).
        split: How many lower layers are frozen; 0 keeps nothing.
        parts: Decoder and output layer, if their composition is the module; else None.
        device: Where the module is.
        packed: Lay a batch out as one tree of tokens, so that what texts share is computed once.
    """

    module: Any
    layers: Any
    split: int
    parts: tuple[Any, Any] | None
    device: Any
    packed: bool = False
    _kept: dict[tuple[int, ...], Any] = field(default_factory=dict, repr=False)

    def logits(self, batch: Sequence[Document]) -> tuple[Any, Any, Any]:
        """Logits before every learned token of a batch.

        Returns:
            Logits ``[N, V]``, targets ``[N]`` and the text of each position ``[N]``.
        """
        import torch

        layout = self._lay(batch)
        frozen = self.layers is not None and self.split > 0
        with self._fed(self._lower(batch, layout) if frozen else None):
            if self.parts is None:
                logits = self.module(**layout.inputs, use_cache=False).logits
                logits_NV = logits[layout.row_N, layout.column_N]
            else:
                decoder, head = self.parts
                hidden = decoder(**layout.inputs, use_cache=False).last_hidden_state
                logits_NV = head(hidden[layout.row_N, layout.column_N])
        if logits_NV.dtype in (torch.float16, torch.bfloat16):
            logits_NV = logits_NV.float()
        return logits_NV, layout.target_N, layout.text_N

    def _lay(self, batch: Sequence[Document]) -> _Layout:
        if not self.packed:
            return _padded(batch, self.device)
        return _packed(batch, self.device, next(self.module.parameters()).dtype)

    def order(self, document: Document) -> Any:
        """Sort key that brings texts together which are cheap in one batch."""
        return document.ids if self.packed else len(document.ids)

    def try_packing(self, documents: Sequence[Document]) -> bool:
        """Pack batches from now on, if this model gives the same logits that way."""
        import torch

        few = sorted(documents, key=lambda d: len(d.ids))[:2]
        with torch.no_grad():
            plain, _, _ = self.logits(few)
            self._kept.clear()
            self.packed = True
            try:
                packed, _, _ = self.logits(few)
            except (RuntimeError, TypeError, ValueError, IndexError):
                self.packed = False  # takes no such mask or no positions
            else:
                scale = float(plain.abs().max()) + 1e-6
                self.packed = bool((plain - packed).abs().max() <= 1e-4 * scale)
            self._kept.clear()
        return self.packed

    def _lower(self, batch: Sequence[Document], layout: _Layout) -> Any:
        """What layer `split` is given, in the batch's layout."""
        import torch

        new = list({d.ids: d for d in batch if d.ids not in self._kept}.values())
        if new:
            part = self._lay(new)
            hidden = self._run_lower(part)
            for d, (row, columns) in zip(new, part.places, strict=True):
                self._kept[d.ids] = hidden[row, columns].clone()
        rows, longest = layout.inputs["input_ids"].shape
        some = self._kept[batch[0].ids]
        out = torch.zeros(rows, longest, some.shape[-1], dtype=some.dtype, device=some.device)
        for d, (row, columns) in zip(batch, layout.places, strict=True):
            out[row, columns] = self._kept[d.ids]
        for d in batch:
            if not d.keep:
                self._kept.pop(d.ids, None)
        return out

    def _run_lower(self, layout: _Layout) -> Any:
        import torch

        def stop(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            raise _Lower(args[0] if args else kwargs["hidden_states"])

        hook = self.layers[self.split].register_forward_pre_hook(stop, with_kwargs=True)
        decoder = self.parts[0] if self.parts is not None else self.module
        try:
            with torch.no_grad():
                decoder(**layout.inputs, use_cache=False)
        except _Lower as found:
            return found.hidden
        finally:
            hook.remove()
        raise AssertionError("the decoder's forward pass did not reach its own layers")

    @contextlib.contextmanager
    def _fed(self, hidden_BTD: Any) -> Iterator[None]:
        """While open, the lower layers pass everything by and layer `split` is given `hidden`."""
        if hidden_BTD is None:
            yield
            return

        def feed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args:
                return (hidden_BTD, *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": hidden_BTD}

        hook = self.layers[self.split].register_forward_pre_hook(
            lambda _, args, kwargs: feed(args, kwargs), with_kwargs=True
        )
        lower = [self.layers[i] for i in range(self.split)]
        own = [layer.__dict__.get("forward") for layer in lower]
        for layer in lower:
            layer.forward = _bypass
        try:
            yield
        finally:
            hook.remove()
            for layer, forward in zip(lower, own, strict=True):
                if forward is None:
                    del layer.forward
                else:
                    layer.forward = forward


def _bypass(hidden_states: Any, *args: Any, **kwargs: Any) -> Any:
    return hidden_states
