"""Two device buffers that layers use in turn on the way back."""

from __future__ import annotations

import weakref
from typing import Any

import torch

__all__ = ["RoundingBuffers"]

_ALIGN = 256


class RoundingBuffers:
    """Layer i's tensors are brought back into buffer i mod 2 (paper, section 4.1).

    A buffer is used again only when nothing that was handed out of it is alive; where something
    still is (a graph that is kept, a second backward pass), tensors get memory of their own, which
    `overflows` counts.

    Args:
        device: Where.
        count: How many; the paper has two.
    """

    def __init__(self, device: torch.device, count: int = 2) -> None:
        self._device = device
        self._slabs: list[torch.Tensor | None] = [None] * count
        self._alive: list[list[weakref.ref[Any]]] = [[] for _ in range(count)]
        self.overflows = 0

    @property
    def bytes(self) -> int:
        """What they take on the device."""
        return sum(s.numel() for s in self._slabs if s is not None)

    def take(self, layer: int, wanted: list[tuple[torch.Size, torch.dtype]]) -> list[torch.Tensor]:
        """Empty tensors of these shapes and types for one layer."""
        sizes = [shape.numel() * dtype.itemsize for shape, dtype in wanted]
        places, total = [], 0
        for size in sizes:
            places.append(total)
            total += -(-size // _ALIGN) * _ALIGN
        k = layer % len(self._slabs)
        if any(r() is not None for r in self._alive[k]):
            self.overflows += 1
            return [torch.empty(s, dtype=t, device=self._device) for s, t in wanted]
        slab = self._slabs[k]
        if slab is None or slab.numel() < total:
            self._slabs[k] = None  # before the new one is there
            slab = self._slabs[k] = torch.empty(total, dtype=torch.uint8, device=self._device)
        out = [
            slab[place : place + size].view(dtype).view(shape)
            for place, size, (shape, dtype) in zip(places, sizes, wanted, strict=True)
        ]
        self._alive[k] = [weakref.ref(t) for t in out]
        return out

    def watch(self, layer: int, tensor: torch.Tensor) -> None:
        """A view of the layer's buffer is handed on: the buffer waits for it too."""
        self._alive[layer % len(self._slabs)].append(weakref.ref(tensor))

    def close(self) -> None:
        """Let go of the memory."""
        self._slabs = [None] * len(self._slabs)
        self._alive = [[] for _ in self._slabs]
