"""Names that mean one entry where a file system does not distinguish case, or normal forms (FAT, exFAT, CIFS, ZFS).

A source's `README` that was copied over a `readme` is called that there. By its name it is extra; it is the copy.
"""

import errno
import os
import unicodedata
from collections.abc import Iterable
from contextlib import suppress

from hpcp_mpi.host.entries import lstat

_NO_NAMES = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)  # of a name that no entry can have
Inode = tuple[int, int]


def folds(directory: int, name: bytes) -> bool:
    """Return whether an entry may also be found under another name that only looks alike. Raises OSError.

    directory: a descriptor, of which nothing but this entry is looked at
    """
    own = _inode(name, directory)
    return own is not None and any(_spelling(each, directory) == own for each in _spellings(name))


def copies_of(directory: int, wanted: Iterable[bytes]) -> set[Inode]:
    """Return the entries of a directory that answer to wanted names without being listed under them. Raises OSError.

    directory: a descriptor for listing
    """
    listed = {os.fsencode(name) for name in os.listdir(directory)}
    found = (_inode(name, directory) for name in wanted if name not in listed)
    return {inode for inode in found if inode is not None}


def _inode(name: bytes, directory: int) -> Inode | None:
    status = lstat(name, directory)
    return None if status is None else (status.st_dev, status.st_ino)


def _spelling(name: bytes, directory: int) -> Inode | None:
    try:
        return _inode(name, directory)
    except OSError as error:
        if error.errno in _NO_NAMES:
            return None
        raise


def _spellings(name: bytes) -> set[bytes]:
    """Return names that some file systems take for this one."""
    with suppress(UnicodeDecodeError):
        text = name.decode()
        forms = {text.swapcase(), *(unicodedata.normalize(form, text) for form in ("NFC", "NFD"))}
        return {form.encode() for form in forms} - {name}
    return {name.swapcase()} - {name}
