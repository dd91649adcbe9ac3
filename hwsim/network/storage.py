"""Writing what must appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hwsim.errors import InputError


@contextmanager
def writing_directory(path: str | os.PathLike[str], force: bool, marker: str) -> Iterator[Path]:
    """Give a folder to fill beside `path`; it gets the name `path` when the block ends, and vanishes when the block fails.

    path: must not exist, unless `force` and it is a folder with the file `marker` in it, or an empty one: that is replaced.
    Errors: InputError where it exists or the disk refuses; the old content then still stands.
    """
    path = Path(path)
    refuse(path, force, marker)
    folder = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:  # the name is known before the folder stands: an interrupt at any place leaves nothing
        try:
            folder.mkdir()
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror}); choose a folder that is writable.") from None
        yield folder
        refuse(path, force, marker)
        _put(folder, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); nothing was left there, so try again.") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def refuse(path: str | os.PathLike[str], force: bool, marker: str) -> None:
    """Raise InputError where writing_directory would: asked before a long computation, so that none is lost."""
    path = Path(path)
    if not path.name:
        raise InputError(f"{path}: is no name for a new folder; choose one.")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {str(path.parent)!r}; create it, or choose another name.")
    if not os.path.lexists(path):
        return
    if not force:
        raise InputError(f"{path}: exists already and nothing was overwritten; choose another name, or --force (force=True).")
    ours = path.is_dir() and not path.is_symlink() and ((path / marker).is_file() or not any(path.iterdir()))
    if not ours:
        raise InputError(f"{path}: exists and holds no {marker}, so it is not replaced even when forced; choose another name.")


def _put(folder: Path, path: Path) -> None:
    """Rename into place; what stood there is moved aside first, and moved back if the renaming fails."""
    if not os.path.lexists(path):
        os.rename(folder, path)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
    os.rename(path, aside / path.name)
    try:
        os.rename(folder, path)
    except BaseException:
        os.rename(aside / path.name, path)  # should this fail too, the old content stays in the folder aside
        os.rmdir(aside)
        raise
    try:
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        shutil.rmtree(aside, ignore_errors=True)  # once more where an interrupt came
