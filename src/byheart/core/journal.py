"""Finished rows on disk, so that an interrupted run takes up where it stopped."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any, BinaryIO

from byheart.core.audit import Audit, Probe, Row
from byheart.core.errors import OutputError

__all__ = ["Journal", "row_key"]

_FORMAT = 1


def row_key(audit: Audit, probe: Probe, fingerprint: str, seed: int) -> str:
    """What a row depends on: the audit with its knobs, the probe's content, model and seed."""
    record: list[Any] = [_FORMAT, audit.name, audit.config(), seed, fingerprint]
    record += [probe.id, probe.arm, probe.prompt, probe.target, probe.meta]
    text = json.dumps(record, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Journal:
    """Append-only JSON lines, one a finished row; each is on disk before `add` returns.

    A half-written last line (power cut, full disk) is ignored on reading and cut off before the
    next append. While it is open the file is locked: a second run that wrote into it would cut off
    what the first is writing.

    Args:
        path: The file; None keeps rows in memory only.

    Raises:
        OutputError: If the file cannot be opened for appending, or another run has it open.
    """

    def __init__(self, path: Path | None) -> None:
        self._rows: dict[str, Row] = {}
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # held open for the whole run; unbuffered, so that closing has nothing left to write
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115
            _lock(self._file, path)
            whole = self._read(path)
            if os.fstat(self._file.fileno()).st_size > whole:
                self._file.truncate(whole)
        except OutputError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise OutputError(
                f"cannot write {path}: {error.strerror or error}; choose another folder with --out"
            ) from error

    def _read(self, path: Path) -> int:
        """Take up what is there; the number of bytes that are whole lines."""
        if not path.exists():
            return 0
        whole = 0
        with open(path, "rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                try:
                    record = json.loads(line)
                    self._rows[record["key"]] = Row.from_dict(record["row"])
                except (ValueError, KeyError, TypeError):
                    break  # everything behind a broken line is measured again
                whole += len(line)
        return whole

    def get(self, key: str) -> Row | None:
        """The row kept under `key`, if any."""
        return self._rows.get(key)

    def add(self, key: str, row: Row) -> None:
        """Keep a row.

        Raises:
            OutputError: If the disk is full or the file cannot be written. The row is still held
                in memory, so that the report of this run has it.
        """
        with self._lock:
            self._rows[key] = row
            if self._file is None:
                return
            line = json.dumps({"key": key, "row": row.to_dict()}, ensure_ascii=False) + "\n"
            whole = os.fstat(self._file.fileno()).st_size
            try:
                data = line.encode("utf-8", "surrogatepass")
                while data:  # a disk that fills up takes a part first and fails on the rest
                    data = data[self._file.write(data) :]
                os.fsync(self._file.fileno())
            except OSError as error:
                with contextlib.suppress(OSError):  # half a line must not hide a later whole one
                    self._file.truncate(whole)
                raise OutputError(
                    f"cannot write {self._file.name}: {error.strerror or error}; "
                    "free some room and run the same command again: finished rows are kept"
                ) from error

    def close(self) -> None:
        """Close the file; rows stay readable."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _lock(file: BinaryIO, path: Path) -> None:
    """Hold the file until it is closed or the process ends, where the system can."""
    try:
        import fcntl
    except ImportError:  # Windows: two runs in one folder are then not noticed
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(
            f"another run is writing {path}; wait for it, or choose another folder with --out"
        ) from None
    except OSError:  # a network disk without locks
        return
