"""Where swapped bytes lie: host memory in chunks that are used again, then files on a disk."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import threading
from pathlib import Path

import torch

from byheart.core.errors import BudgetExceeded, OutputError

__all__ = ["Chunk", "HostPool", "Room"]

_ALIGN = 64


class Chunk:
    """A stretch of bytes, `data` a one-dimensional uint8 tensor; `file` where it lies on a disk."""

    def __init__(self, data: torch.Tensor, file: Path | None = None) -> None:
        self.data, self.file = data, file

    def __len__(self) -> int:
        return self.data.numel()


class Room:
    """One layer's pass on the host: one flat stretch, handed out from the front."""

    def __init__(self, pool: HostPool, sizes: list[int]) -> None:
        self._pool = pool
        total = sum(-(-size // _ALIGN) * _ALIGN for size in sizes)
        self._chunk: Chunk | None = pool.chunk(total) if total else None
        self._used = 0

    def take(self, size: int) -> torch.Tensor:
        """The next `size` bytes, uint8; sizes come as they were announced."""
        assert self._chunk is not None
        begin = self._used
        self._used += -(-size // _ALIGN) * _ALIGN
        return self._chunk.data[begin : begin + size]

    def leave(self) -> None:
        """Give everything back; nothing that was taken may be read any more."""
        chunk, self._chunk = self._chunk, None
        if chunk is not None:
            self._pool.give(chunk)


class HostPool:
    """Chunks of host memory within a budget, and files beyond it.

    Args:
        limit: Bytes of host memory.
        disk: Folder for files beyond it; None allows none. They hold raw bytes, and are removed.
        pinned: Page-lock the memory, so that a GPU copies it without the processor.

    Memory is taken once and used again: page-locking for every tensor would stop the device.
    """

    def __init__(self, limit: int, disk: Path | str | None = None, *, pinned: bool = False) -> None:
        self.limit, self.pinned = int(limit), pinned
        self._disk = None if disk is None else Path(disk)
        self._folder: Path | None = None
        self._free: list[Chunk] = []
        self._lock = threading.Lock()
        self._files = 0
        self.host_bytes = self.disk_bytes = 0
        self.peak = 0
        self._out = 0

    def chunk(self, size: int) -> Chunk:
        """The smallest free chunk that is large enough, or a new one.

        Raises:
            BudgetExceeded: If neither the host's budget nor the disk has room.
        """
        with self._lock:
            fits = [c for c in self._free if len(c) >= size]
            if fits:
                # Memory before files, and the smallest.
                best = min(fits, key=lambda c: (c.file is not None, len(c)))
                self._free.remove(best)
            else:
                best = self._new(size)
            self._out += len(best)
            self.peak = max(self.peak, self._out)
            return best

    def give(self, chunk: Chunk) -> None:
        """Take a chunk back."""
        with self._lock:
            self._out -= len(chunk)
            self._free.append(chunk)

    def _new(self, size: int) -> Chunk:
        if self.host_bytes + size > self.limit:
            self._drop(self.host_bytes + size - self.limit)
        if self.host_bytes + size <= self.limit:
            data = torch.empty(size, dtype=torch.uint8, pin_memory=self.pinned)
            self.host_bytes += size
            return Chunk(data)
        if self._disk is None:
            raise BudgetExceeded(
                f"swapping needs {size:,} bytes more and {self.host_bytes:,} of the host's budget of "
                f"{self.limit:,} are in use; raise cpu_bytes, lower alpha, or name a folder with disk"
            )
        return self._on_disk(size)

    def _drop(self, size: int) -> None:
        """Free chunks that are too small to be of use, until so many bytes are won."""
        for chunk in sorted((c for c in self._free if c.file is None), key=len):
            if size <= 0:
                return
            self._free.remove(chunk)
            self.host_bytes -= len(chunk)
            size -= len(chunk)

    def _on_disk(self, size: int) -> Chunk:
        assert self._disk is not None
        try:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="byheart-swap-", dir=self._disk))
            path = self._folder / f"{self._files}.raw"
            self._files += 1
            with open(path, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)  # a hole would fail later, as a crash
            data = torch.from_file(str(path), shared=True, size=size, dtype=torch.uint8)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise BudgetExceeded(
                    f"swapping needs {size:,} bytes in {self._disk}, which is full; free some room, "
                    "name another folder, or lower alpha"
                ) from error
            raise OutputError(f"cannot swap to {self._disk}: {error.strerror or error}") from error
        self.disk_bytes += size
        return Chunk(data, path)

    def close(self) -> None:
        """Let go of all memory and remove all files."""
        with self._lock:
            self._free.clear()
            self.host_bytes = self.disk_bytes = 0
            if self._folder is not None:
                with contextlib.suppress(OSError):
                    shutil.rmtree(self._folder)
                self._folder = None
