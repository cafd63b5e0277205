"""Copies beside the computation: streams on CUDA, one thread each way elsewhere."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import torch

__all__ = ["CudaStreams", "Done", "Streams", "ThreadStreams", "copy", "streams_for"]


class Done(Protocol):
    """That a copy has been made."""

    def wait(self) -> None:
        """Go on only after it; on CUDA the compute stream waits, not the caller."""


def copy(to: torch.Tensor, source: torch.Tensor) -> None:
    """One copy of equal shapes; tests put delays in here."""
    to.copy_(source, non_blocking=True)


class Streams(Protocol):
    """Two queues beside the computation."""

    def out(self, pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> Done:
        """Copy device tensors (second) to the host (first), after what has been computed so far."""

    def back(self, pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> Done:
        """Copy host tensors (second) to the device (first)."""

    def close(self) -> None:
        """Finish everything."""


class _Thread:
    def __init__(self, future: Future[None]) -> None:
        self._future = future

    def wait(self) -> None:
        self._future.result()


class ThreadStreams:
    """For devices without streams: one thread for each direction, in order."""

    def __init__(self) -> None:
        self._out = ThreadPoolExecutor(1, "byheart-swap-out")
        self._back = ThreadPoolExecutor(1, "byheart-swap-back")

    def out(self, pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> Done:
        return _Thread(self._out.submit(_copies, pairs))

    def back(self, pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> Done:
        return _Thread(self._back.submit(_copies, pairs))

    def close(self) -> None:
        self._out.shutdown()
        self._back.shutdown()


def _copies(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    with torch.no_grad():
        for to, source in pairs:
            copy(to, source)


class _Event:
    def __init__(self, event: Any, device: torch.device) -> None:
        self._event, self._device = event, device

    def wait(self) -> None:
        torch.cuda.current_stream(self._device).wait_event(self._event)


class CudaStreams:
    """One stream for each direction."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._out: Any = torch.cuda.Stream(device)
        self._back: Any = torch.cuda.Stream(device)

    def out(self, pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> Done:
        return self._on(self._out, pairs)

    def back(self, pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> Done:
        # What is overwritten was made on the compute stream, and may still be read there.
        return self._on(self._back, pairs)

    def _on(self, stream: Any, pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> Done:
        compute = torch.cuda.current_stream(self._device)  # inside the context it is another
        stream.wait_stream(compute)
        with torch.cuda.stream(stream):
            _copies(pairs)
            for to, source in pairs:
                for tensor in (to, source):
                    if tensor.is_cuda:
                        tensor.record_stream(stream)
            event = torch.cuda.Event()
            event.record(stream)
        return _Event(event, self._device)

    def close(self) -> None:
        self._out.synchronize()
        self._back.synchronize()


def streams_for(device: torch.device) -> Streams:
    """What suits a device."""
    return CudaStreams(device) if device.type == "cuda" else ThreadStreams()
