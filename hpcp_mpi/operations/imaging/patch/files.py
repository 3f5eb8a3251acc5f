"""Patches as they lie in mounted images: read, and looked at as what anybody may have made."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from io import BytesIO

from hpcp_mpi.formats import patch_manifest
from hpcp_mpi.formats.patch_manifest import CHANGES, MANIFEST, MORE, PLACE, Manifest
from hpcp_mpi.formats.patch_rows import Rows, read
from hpcp_mpi.host.dirfd import FLAGS, READ
from hpcp_mpi.host.entries import lstat
from hpcp_mpi.operations.imaging.patch.entry_looks import Looks, Seen
from hpcp_mpi.operations.imaging.rules.patch import Chain, same
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.paths import first_few, printable

_MOST = 1 << 28  # bytes of a table, which is held in memory: more is no patch
_SHOWN = 5  # names in a message


@dataclass(frozen=True, slots=True)
class Volume:
    """One image of a patch. root: where it is mounted; fd: a descriptor of that; name: as it was given"""

    root: bytes
    fd: int
    name: bytes


@dataclass(frozen=True, slots=True)
class Patch:
    """One patch, of one or more volumes."""

    manifest: Manifest
    rows: Rows
    volumes: tuple[Volume, ...]

    @property
    def name(self) -> str:
        return printable(self.volumes[0].name)


@contextmanager
def open_volumes(places: Iterable[tuple[bytes, bytes]]) -> Iterator[list[Volume]]:
    """Yield the volumes that are mounted at places: (path, name). Raises FatalError."""
    with ExitStack() as stack:
        volumes = []
        for root, name in places:
            try:
                fd = os.open(root, FLAGS)
            except OSError as error:
                raise FatalError(f"cannot open the patch {printable(name)}: {reason_of(error)}") from None
            stack.callback(os.close, fd)
            volumes.append(Volume(root, fd, name))
        yield volumes


def patches_of(volumes: Sequence[Volume]) -> list[Patch]:
    """Return the patches that volumes are of, in their order. Raises FatalError."""
    groups: dict[bytes, list[tuple[Manifest, Volume]]] = {}
    for volume in volumes:
        with _blamed(volume):
            manifest = patch_manifest.read(_content(volume, MANIFEST))
        groups.setdefault(manifest.patch_id, []).append((manifest, volume))
    return [_patch(group) for group in groups.values()]


def _patch(group: list[tuple[Manifest, Volume]]) -> Patch:
    """Return the patch that volumes make. Raises FatalError."""
    by_number = {manifest.volume[0]: (manifest, volume) for manifest, volume in group}
    manifest, volume = group[0]
    count = manifest.volume[1]
    missing = [number for number in range(1, count + 1) if number not in by_number]
    if missing or any(each.volume[1] != count for each, _ in group):
        raise FatalError(
            f"the patch {printable(volume.name)} has {count} volumes, and number {', '.join(map(str, missing))} is not"
            " here",
            "Name all of them with -siff.",
        )
    manifest, first = by_number[1]
    with _blamed(first):
        more = _content(first, MORE) if _has(first, MORE) else None
        rows = read(BytesIO(_content(first, CHANGES)), None if more is None else BytesIO(more), manifest.tail)
    if not manifest.hashes:
        bare = (row._replace(old=row.old.without_hashes, new=row.new.without_hashes) for row in rows.rows)
        rows = replace(rows, rows=tuple(bare))
    return Patch(manifest, rows, tuple(volume for _, (_, volume) in sorted(by_number.items())))


@contextmanager
def _blamed(volume: Volume) -> Iterator[None]:
    """Raise FatalError in place of what reading a patch raises."""
    name = printable(volume.name)
    try:
        yield
    except NotImplementedError as error:
        raise FatalError(f"{name}: {error}, and this version applies none of these") from None
    except ValueError as error:
        raise damaged(name, str(error)) from None
    except OSError as error:
        raise FatalError(
            f"cannot read the patch {name}: {reason_of(error)}", "Is it a patch (-diff writes one)?"
        ) from (None)


def damaged(name: str, reason: str) -> FatalError:
    """Return the error for a patch that is never applied."""
    return FatalError(f"the patch {name} is damaged, or was made to do harm: {reason}", "Nothing was changed.")


def _has(volume: Volume, name: bytes) -> bool:
    return lstat(PLACE + b"/" + name, volume.fd) is not None


def _content(volume: Volume, name: bytes) -> bytes:
    """Return what is in a file of a patch beside its payload. Raises OSError, ValueError."""
    directory = os.open(PLACE, FLAGS, dir_fd=volume.fd)
    try:
        fd = os.open(name, READ, dir_fd=directory)
    finally:
        os.close(directory)
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST:
            raise ValueError(f"{printable(name)} is no file of that kind")
        return file.read(_MOST)


Origins = dict[bytes, Volume]


def origins_of(patches: Sequence[Patch], chains: Mapping[bytes, Chain], stopped: Callable[[], bool]) -> Origins:
    """Return which volume has what each entry becomes; all of it was looked at. Raises FatalError, Stopped.

    What a patch does not hold as its rows say is not applied at all, whatever was asked.
    """
    found: Origins = {}
    for number, patch in enumerate(patches):
        missing = {path: chain for path, chain in chains.items() if chain.patch == number and chain.end.there}
        for volume in patch.volumes:
            looks = Looks(volume.root, volume.fd, stopped)
            seen = looks.at({path: chain.hashed for path, chain in missing.items()})
            good = [path for path, chain in missing.items() if _holds(seen[path], chain)]
            for path in good:
                found[path] = volume
                del missing[path]
        if missing:
            raise damaged(patch.name, f"it does not hold what its rows say of {first_few(sorted(missing), _SHOWN)}")
    return found


def _holds(seen: Seen, chain: Chain) -> bool:
    return same(chain.end, seen.state)
