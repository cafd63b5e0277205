"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path

from byheart.core.errors import OutputError

__all__ = ["make_folder", "write_atomically"]


def make_folder(folder: Path) -> Path:
    """Make the folder and try it, before minutes of work are spent.

    Raises:
        OutputError: If it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, probe = tempfile.mkstemp(prefix=".byheart-write-test.", dir=folder)
        os.close(handle)
        os.unlink(probe)
    except OSError as error:
        what = "it is a file" if folder.is_file() else error.strerror or str(error)
        raise OutputError(
            f"cannot write into {folder}: {what}; choose another folder with --out"
        ) from error
    return folder


def write_atomically(path: Path, text: str) -> None:
    """Write `text` beside `path` and move it there, so that no reader meets half a file.

    Args:
        path: Where to; its folder is made if it is not there.
        text: UTF-8 text. Lone surrogates (broken model output) are written as ``?``.

    Raises:
        OutputError: With what to do; the file that was there before is untouched.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode("utf-8", errors="replace"))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = ""
    except OSError as error:
        what = error.strerror or str(error)
        todo = (
            "free some space and write again"
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else "choose another folder, or give write permission"
        )
        raise OutputError(f"cannot write {path}: {what}; {todo}") from error
    finally:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _umask() -> int:
    """The process's file mode mask (it can only be read by setting it)."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
