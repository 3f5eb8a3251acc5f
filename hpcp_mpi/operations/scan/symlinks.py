"""Where a relative symlink leads, seen from a directory: by its text alone. Pure.

Paths are relative to a root that the link lies below. `..` may lead above it.
"""

from hpcp_mpi.vocab.paths import is_within, join


def leads(directory: bytes, target: bytes) -> tuple[int, bytes] | None:
    """Return where a link in a directory leads: how many directories above the root, and the path from there.

    None for an absolute target, which means the same from everywhere.
    """
    if target.startswith(b"/"):
        return None
    path = directory.split(b"/") if directory else []
    up = 0
    for name in target.split(b"/"):
        if name == b"..":
            if path:
                path.pop()
            else:
                up += 1
        elif name not in (b"", b"."):
            path.append(name)
    return up, b"/".join(path)


def above(path: bytes, up: int) -> bytes:
    """Return the directory so many above an absolute path; that above `/` is `/`."""
    names = path.strip(b"/").split(b"/")
    return b"/" + join(*names[: max(0, len(names) - up)])


def climbs(landed: bytes | None, source_dir: bytes, dest_dir: bytes) -> int:
    """Return how often a link in a directory may say `..` and not lead out of what is copied with it; -1: never.

    landed, source_dir, dest_dir: as for `tracked`, which returns None for each such link
    """
    if landed is None or dest_dir != join(landed, source_dir):
        return -1
    return source_dir.count(b"/") + 1 if source_dir else 0


NOWHERE = b"/"  # instead of where a source lands: its links are not looked at


def tracked(
    landed: bytes | None, source_dir: bytes, dest_dir: bytes, target: bytes, outside: bool
) -> tuple[int, bytes, int, bytes] | None:
    """Return where a link's target would lie, and what would have to be copied there; None where nothing has to be.

    landed:     where the contents of the link's source land; None: only some entries of the source are copied
    source_dir: of the link, below the source's root; dest_dir: the same below the destination root
    outside:    whether that may be outside the destination, too
    Returns (directories above the destination root, path below those, the same two for the source).
    """
    if landed is not None and b".." not in target:
        return None  # most links: below the directory that they are in
    place, origin = leads(dest_dir, target), leads(source_dir, target)
    if place is None or origin is None or not place[1] or not origin[1]:
        return None
    if place[0] and not outside:
        return None
    if landed is not None and not place[0] and is_within(place[1], landed):
        return None  # it is copied with the link, or is not to be
    return *place, *origin
