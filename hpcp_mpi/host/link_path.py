"""The way that a symlink leads, entry by entry: does it pass a certain one?"""

import os
import stat
from contextlib import ExitStack

_MOST_LINKS = 40  # the kernel follows no more, either
_ENTRY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def passes(directory: int, target: bytes, inode: tuple[int, int]) -> bool:
    """Return whether a symlink in a directory, a descriptor, leads to or through an entry: (device, inode).

    target: what it points to. False where it leads nowhere.
    """
    with ExitStack() as stack:

        def enter(name: bytes, parent: int | None) -> int:
            fd = os.open(name, _ENTRY, dir_fd=parent)
            stack.callback(os.close, fd)
            return fd

        at, links = directory, 0
        names = [target]
        try:
            while names:
                path = names.pop()
                if path.startswith(b"/"):
                    at = enter(b"/", None)
                first, _, rest = path.lstrip(b"/").partition(b"/")
                if rest.strip(b"/"):
                    names.append(rest.lstrip(b"/"))
                if first in (b"", b"."):
                    continue
                found = enter(first, at)
                status = os.fstat(found)
                if (status.st_dev, status.st_ino) == inode:
                    return True
                if not stat.S_ISLNK(status.st_mode):
                    at = found
                    continue
                links += 1
                if links > _MOST_LINKS:
                    return False
                names.append(os.readlink(b"", dir_fd=found))
        except OSError:
            return False  # it leads no further
    return False


def replaces_its_target(source: int, name: bytes, link: tuple[int, bytes], dest: int, target: bytes) -> bool:
    """Return whether a copied symlink would replace what it leads to, or what lies on the way there.

    source: descriptor of the directory where it is called name. link: (directory, name) of its copy so far.
    dest, target: where that is to go. A link that leads to itself in the source is copied as it is. Raises OSError.
    """
    there = os.stat(target, dir_fd=dest, follow_symlinks=False)
    inode = there.st_dev, there.st_ino
    text = os.readlink(link[1], dir_fd=link[0])
    if passes(source, text, inode):
        return True
    if not passes(dest, text, inode):
        return False
    own = os.stat(name, dir_fd=source, follow_symlinks=False)
    return not passes(source, text, (own.st_dev, own.st_ino))
