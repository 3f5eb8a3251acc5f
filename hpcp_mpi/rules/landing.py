"""The rules of where sources land in the destination, which are hpcp's; on rank 0.

With one source that is a directory, and no `/` at the end of either side, the directory's *contents* land in the
destination. With several sources, or a destination that ends in `/` or is a directory for a file, a source lands below
the destination under its own name. A source that ends in `/` has no name: its contents land.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from hpcp_mpi.vocab.errors import UsageError
from hpcp_mpi.vocab.paths import child_path, printable


class Type(Enum):
    """The type of a source argument."""

    DIRECTORY = "directory"
    DIRECTORY_LINK = "symlink to a directory"
    OTHER = "file"


@dataclass(frozen=True, slots=True)
class Landing:
    """One source and its place below the destination root."""

    argument: bytes  # as it was given
    source_root: bytes  # the directory that is opened
    name: bytes | None  # the entry of source_root that is copied; None: its contents
    dest_dir: bytes  # relative to the destination root
    dest_name: bytes | None = None  # where it differs from name

    @property
    def target(self) -> bytes:
        """The path that is written, relative to the destination root; b"" is that root itself."""
        name = self.dest_name or self.name
        return self.dest_dir if name is None else (self.dest_dir + b"/" + name if self.dest_dir else name)


def own_name(argument: bytes) -> bytes:
    """Return the last component of a source argument, b"" where it has none: `dir/`, `.`, `..`, `/`."""
    name = os.path.basename(argument)
    return b"" if name in (b".", b"..") else name


def place_sources(
    sources: list[tuple[bytes, Type]], destination: bytes, destination_is_directory: bool
) -> tuple[bytes, list[Landing]]:
    """Return the destination root and a landing for each source.

    sources: arguments as typed, with their types. Raises UsageError when two sources land on one path.
    """
    below = len(sources) > 1 or destination.endswith(b"/") or (destination_is_directory and sources[0][1] is Type.OTHER)
    if not below and sources[0][1] is Type.OTHER:
        argument = sources[0][0]
        root, name = os.path.dirname(destination) or b".", os.path.basename(destination)
        return root, [Landing(argument, os.path.dirname(argument) or b".", own_name(argument), b"", name)]
    landings = [_land_below(argument, kind, below) for argument, kind in sources]
    _refuse_collisions(landings)
    return destination, landings


def place_at(sources: list[tuple[bytes, Type]], places: Sequence[bytes]) -> list[Landing]:
    """Return a landing for each source at its own place, relative to the destination root.

    A directory's contents land there, anything else is called so. Raises UsageError when two sources land on one path.
    """
    landings = []
    for (argument, kind), place in zip(sources, places, strict=True):
        if kind is Type.DIRECTORY or (kind is Type.DIRECTORY_LINK and not own_name(argument)):
            landings.append(Landing(argument, argument, None, place))
        else:
            name, (parent, called) = own_name(argument), os.path.split(place)
            other = called if called != name else None
            landings.append(Landing(argument, os.path.dirname(argument) or b".", name, parent, other))
    _refuse_collisions(landings)
    return landings


def _land_below(argument: bytes, kind: Type, below: bool) -> Landing:
    name = own_name(argument) if below else b""
    if kind is Type.OTHER or (kind is Type.DIRECTORY_LINK and name):
        return Landing(argument, os.path.dirname(argument) or b".", own_name(argument), b"")
    return Landing(argument, argument, None, name)


def counterpart_of(landings: Sequence[Landing], roots: Sequence[bytes]) -> bytes | None:
    """Return the directory that all comes from that lands in the destination, each at the same place below both.

    None where there is no such directory: sources of several directories, or one that gets another name.
    roots: the absolute path of each landing's source root
    """
    found = set()
    for landing, root in zip(landings, roots, strict=True):
        source, target = child_path(root, landing.name or b""), landing.target
        if not target:
            found.add(source)
        elif source.endswith(b"/" + target):
            found.add(source[: -len(target) - 1] or b"/")
        else:
            return None
    return found.pop() if len(found) == 1 else None


def _refuse_collisions(landings: list[Landing]) -> None:
    seen: dict[bytes, Landing] = {}
    for landing in landings:
        if not landing.target:
            continue  # contents of several sources merge in the destination
        other = seen.setdefault(landing.target, landing)
        if other is not landing:
            raise UsageError(
                f"{printable(other.argument)} and {printable(landing.argument)} would both land on "
                f"{printable(landing.target)} in the destination",
                "Copy them one after the other, or into different directories.",
            )
