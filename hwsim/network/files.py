"""Reading a user's file whole, with one sentence for what can go wrong."""

from __future__ import annotations

import os
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
