"""Reading and writing a user's file whole, with one sentence for what can go wrong."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from hwsim.errors import InputError

LFS_POINTER = b"version https://git-lfs"


def read_bytes(path: str | os.PathLike[str], limit: int) -> bytes:
    """All bytes of a file of at most `limit` bytes; InputError where it is missing, a folder, unreadable or larger."""
    path = Path(path)
    try:
        if not path.is_file():
            found = "is a folder or a device" if path.exists() else "does not exist"
            raise InputError(f"{path}: this file {found}; give the path of an existing file.")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size  # a buffer as large as the limit would be taken at once
            data = b"" if size > limit else file.read(size + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{path}: cannot be read ({reason}); check the path and its permissions.") from None
    if max(size, len(data)) > limit:
        raise InputError(f"{path}: larger than the {limit:,} bytes that hwsim reads for this kind of file.")
    if data.startswith(LFS_POINTER):
        raise InputError(f"{path}: this is a Git LFS pointer; fetch the file itself with `git lfs pull`.")
    return data


def refuse_name(path: str | os.PathLike[str], suffix: str, force: bool = False) -> None:
    """Raise InputError where a file of this suffix cannot be written under this name: before the work."""
    path = Path(path)
    if path.suffix != suffix:
        raise InputError(f"{path}: found {path.suffix!r}, allowed {suffix}; rename it.")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {str(path.parent)!r}; create it, or choose another name.")
    if path.is_dir() or os.path.lexists(path) and not force:
        raise InputError(f"{path}: exists already and nothing was overwritten; choose another name, or --force (force=True).")


def write_whole(path: str | os.PathLike[str], data: bytes, force: bool = False) -> Path:
    """Write a file that appears whole under its name, or not at all; return its path.

    Errors: InputError where the name is refused, also when it was taken meanwhile, or the disk refuses.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        partial.write_bytes(data)
        refuse_name(path, path.suffix, force)
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another name.") from None
    finally:
        partial.unlink(missing_ok=True)
    return path
