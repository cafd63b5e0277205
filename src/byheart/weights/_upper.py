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
    """

    module: Any
    layers: Any
    split: int
    parts: tuple[Any, Any] | None
    device: Any
    _kept: dict[tuple[int, ...], Any] = field(default_factory=dict, repr=False)

    def logits(self, batch: Sequence[Document]) -> tuple[Any, Any, Any]:
        """Logits before every learned token of a batch.

        Returns:
            Logits ``[N, V]``, targets ``[N]`` and the text of each position ``[N]``.
        """
        import torch

        longest = max(len(d.ids) for d in batch)
        ids_BT = torch.zeros(len(batch), longest, dtype=torch.long)
        rows, columns = [], []
        for b, d in enumerate(batch):
            ids_BT[b, : len(d.ids)] = torch.tensor(d.ids)
            rows += [b] * (len(d.ids) - d.first)
            columns += range(d.first - 1, len(d.ids) - 1)
        row_N, column_N = torch.tensor(rows), torch.tensor(columns)
        target_N = ids_BT[row_N, column_N + 1].to(self.device)
        ids_BT = ids_BT.to(self.device)
        feed = self._lower(batch, ids_BT) if self.layers is not None and self.split else None
        with self._fed(feed):
            if self.parts is None:
                logits_BTV = self.module(input_ids=ids_BT, use_cache=False).logits
                logits_NV = logits_BTV[row_N, column_N]
            else:
                decoder, head = self.parts
                hidden_BTD = decoder(input_ids=ids_BT, use_cache=False).last_hidden_state
                logits_NV = head(hidden_BTD[row_N, column_N])
        return logits_NV.float() if logits_NV.dtype.itemsize < 4 else logits_NV, target_N, row_N

    def _lower(self, batch: Sequence[Document], ids_BT: Any) -> Any:
        """What layer `split` is given, ``[B, T, D]``; positions after a text's end are zero."""
        import torch

        new = [b for b, d in enumerate(batch) if d.ids not in self._kept]
        if new:
            longest = max(len(batch[b].ids) for b in new)
            fresh_nTD = self._run_lower(ids_BT[new, :longest])
            for n, b in enumerate(new):
                self._kept[batch[b].ids] = fresh_nTD[n, : len(batch[b].ids)].clone()
        out_BTD = torch.nn.utils.rnn.pad_sequence(
            [self._kept[d.ids] for d in batch], batch_first=True
        )
        for d in batch:
            if not d.keep:
                self._kept.pop(d.ids, None)
        return out_BTD

    def _run_lower(self, ids_BT: Any) -> Any:
        import torch

        def stop(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            raise _Lower(args[0] if args else kwargs["hidden_states"])

        hook = self.layers[self.split].register_forward_pre_hook(stop, with_kwargs=True)
        decoder = self.parts[0] if self.parts is not None else self.module
        try:
            with torch.no_grad():
                decoder(input_ids=ids_BT, use_cache=False)
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
