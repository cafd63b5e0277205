"""npz files read without pickle and written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from byheart.core.errors import DataError, OutputError

__all__ = ["read_npz", "write_npz"]


def write_npz(path: Path, arrays: Mapping[str, Any]) -> Path:
    """Write arrays beside `path` and move them there; a name without ``.npz`` stays as it is.

    Raises:
        OutputError: It cannot be written; what was there before is untouched.
    """
    held = io.BytesIO()
    np.savez_compressed(held, allow_pickle=False, **arrays)
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(held.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0o077)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
        temporary = ""
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        todo = "free some space and run again" if full else "choose another place for it"
        raise OutputError(f"cannot write {path}: {error.strerror or error}; {todo}") from error
    finally:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    return path


@contextlib.contextmanager
def read_npz(path: str | Path) -> Iterator[Any]:
    """Open an npz file; objects in it are refused, since they could be anything.

    Raises:
        DataError: No such file, not an npz file, cut off, or with pickled objects.
    """
    path = Path(path)
    try:
        held = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{path}: no readable npz file ({error})") from error
    if not isinstance(held, np.lib.npyio.NpzFile):
        raise DataError(f"{path}: one bare array; an npz file with named arrays is needed")
    with held:
        try:
            yield held
        except (ValueError, zipfile.BadZipFile, zipfile.error, EOFError, OSError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{path}: an array cannot be read ({error})") from error
