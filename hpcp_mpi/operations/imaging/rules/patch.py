"""What the rows of patches mean for the entries of a target: to be applied, done, or a conflict. Pure.

Several patches become one: each entry has the states that they lead it through. A target that shows any of them is on
the way, so that the same patches can be applied again after a run that was killed, or that did the first of them only.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK
from typing import NamedTuple

from hpcp_mpi.formats.changes_table import Op
from hpcp_mpi.formats.entry_state import ABSENT, State
from hpcp_mpi.formats.patch_manifest import PLACE
from hpcp_mpi.formats.patch_rows import Row, Rows
from hpcp_mpi.rules.equality import NEW, change_letters
from hpcp_mpi.vocab.paths import STAGE_PREFIX, printable

MARK = STAGE_PREFIX + b"patching"  # in a target, as long as patches are being applied to it
RESERVED = frozenset({PLACE, MARK})
_STEPS = (100, 1000, 10**6, 10**7, 10**9, 2 * 10**9)  # ns, in which file systems count times


class Damaged(ValueError):
    """A patch that is never applied, as it contradicts itself or would change what is not below the target's root."""


class NotNext(ValueError):
    """A patch that does not begin where the one before it ends."""


class Verdict(Enum):
    DONE = "done"
    APPLY = "apply"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Chain:
    """What patches make of one entry."""

    states: tuple[State, ...]  # from what is there before the first patch to what is there after the last one
    patch: int  # the number of the last patch that changes it, from 0

    @property
    def end(self) -> State:
        return self.states[-1]

    @property
    def hashed(self) -> frozenset[tuple[int | None, int]]:
        """Of which bytes of a file the hashes are that have to be known: (size, span)."""
        return frozenset((state.size, span) for state in self.states for span, _ in state.hashes)


Chains = dict[bytes, Chain]
File = tuple[int, bytes]  # that has one or more names: the patch that says so, and one of them


class Barrier(NamedTuple):
    """What keeps a path from being looked up: one of the directories that it lies in is none."""

    path: bytes
    kind: bytes  # State's


class Judged(NamedTuple):
    """The verdict on an entry, and the reason of a conflict."""

    verdict: Verdict
    reason: str = ""


def refuse_unsafe(row: Row) -> None:
    """Raise Damaged where a row is not of an entry below the root, or is of the patch's own directory."""
    path, shown = row.path, printable(row.shown)
    if not path:
        if row.op is not Op.MODIFIED or not row.new.is_directory:
            raise Damaged(f"it has a row that removes or replaces the root ({shown})")
        return
    parts = path.split(b"/")
    if b"\0" in path or any(part in (b"", b".", b"..") for part in parts):
        raise Damaged(f"it has a row that leaves the directory it is applied to: {shown}")
    if parts[0] in RESERVED:
        raise Damaged(f"it has a row of what patches have for themselves: {shown}")


def chains_of(patches: Sequence[Rows]) -> Chains:
    """Return what patches, in this order, make of each entry. Raises Damaged, NotNext."""
    found: Chains = {}
    for number, patch in enumerate(patches):
        for path, states in _steps(patch.rows).items():
            before = found.get(path)
            if before is None:
                found[path] = Chain(states, number)
                continue
            if not same(before.end, states[0]):
                raise NotNext(printable(path))
            found[path] = Chain((*before.states, *states[1:]), number)
    _refuse_contradictions(found)
    return found


def _steps(rows: Iterable[Row]) -> dict[bytes, tuple[State, ...]]:
    """Return the states that one patch leads each entry through."""
    removed: dict[bytes, Row] = {}
    steps: dict[bytes, tuple[State, ...]] = {}
    for row in rows:
        refuse_unsafe(row)
        if row.op is Op.DELETED:
            removed[row.path] = row
        elif row.path in steps:
            raise Damaged(f"it has two rows of {printable(row.path)}")
        else:
            steps[row.path] = row.old, row.new
    for path, row in removed.items():
        after = steps.get(path)
        if after is None:
            steps[path] = row.old, ABSENT
        elif after[0].there:
            raise Damaged(f"it removes and modifies {printable(path)}")
        else:
            steps[path] = row.old, ABSENT, after[1]
    return steps


def _refuse_contradictions(chains: Chains) -> None:
    for path, chain in chains.items():
        if not chain.end.there:
            continue
        for above in parents(path):
            other = chains.get(above)
            if other is not None and not other.end.is_directory:
                raise Damaged(f"it leaves {printable(path)} in {printable(above)}, which is no directory then")


def parents(path: bytes) -> list[bytes]:
    """Return the directories that an entry lies in below the root, the first one first."""
    parts = path.split(b"/")
    return [b"/".join(parts[:count]) for count in range(1, len(parts))]


def files_of(patches: Sequence[Rows], chains: Mapping[bytes, Chain]) -> dict[bytes, File]:
    """Return of each name which file it is one of after patches. Raises Damaged.

    Two names of one file have the same one, names of different files never; names of which nobody knows are left out.
    """
    files: dict[bytes, File] = {}
    for number, patch in enumerate(patches):
        if patch.linked is None:
            for row in patch.rows:
                files.pop(row.path, None)
            continue
        found = {row.path: (number, row.path) for row in patch.rows}
        for one, other in patch.linked:
            if one not in found or other not in found:
                raise Damaged(f"it has a hard link without a row: {printable(other)}")
            found[other] = found[one]
        files.update(found)
    ends = {path: chain.end for path, chain in chains.items()}
    return {path: file for path, file in files.items() if ends[path].there and not ends[path].is_directory}


def same(expected: State, found: State, window: int = 0) -> bool:
    """Return whether an entry is as expected. What is not known of one of the two is not compared.

    window: ns; mtimes nearer than this are equal. So are those of which one is what a file system made of the other
    that counts in bigger steps.
    """
    if expected.kind != found.kind:
        return False
    pairs = (
        (expected.mode, found.mode),
        (expected.uid, found.uid),
        (expected.gid, found.gid),
        (expected.portable, found.portable),
        (expected.attributes, found.attributes),
        (expected.device, found.device),
    )
    if any(one is not None and other is not None and one != other for one, other in pairs):
        return False
    return _same_content(expected, found) and _same_time(expected.mtime, found.mtime, window)


def _same_content(expected: State, found: State) -> bool:
    if expected.size != found.size or expected.target != found.target:
        return False
    known = dict(found.hashes)
    return all(known.get(span, digest) == digest for span, digest in expected.hashes)


def _same_time(one: int | None, other: int | None, window: int) -> bool:
    if one is None or other is None or abs(one - other) <= window:
        return True
    low, high = sorted((one, other))
    return any(high - high % step == low for step in _STEPS)


def judged(chain: Chain, found: State, begun: bool, window: int = 0) -> Judged:
    """Return the verdict on an entry. begun: a run that applied the same patches was ended in between."""
    if same(chain.end, found, window):
        return Judged(Verdict.DONE)
    # The time of a directory is no reason for a conflict: whoever makes anything in it changes that.
    known = found._replace(mtime=None) if found.is_directory else found
    if any(same(state, known, window) for state in chain.states):
        return Judged(Verdict.APPLY)
    if begun and (not found.there or any(_half(state, found) for state in chain.states)):
        return Judged(Verdict.APPLY)
    return Judged(Verdict.CONFLICT, _conflict(chain, found))


def _half(state: State, found: State) -> bool:
    """Return whether an entry is what a state says, but for metadata that a killed run had not given to it yet."""
    if state.kind != found.kind or found.kind == b"-":
        return False
    return found.is_directory or (_same_content(state, found) and state.device == found.device)


def _conflict(chain: Chain, found: State) -> str:
    first = chain.states[0]
    if not found.there:
        return "it is missing"
    if not first.there:
        return "there is something, where the patch expects nothing"
    if found.kind != first.kind:
        return "it is of another type"
    if _same_content(first, found):
        return (
            "its metadata was changed" if first.mtime is None or first.mtime == found.mtime else "its time is another"
        )
    return "it was changed"


def behind(path: bytes, chain: Chain, barrier: Barrier, chains: Mapping[bytes, Chain]) -> Judged | None:
    """Return the verdict on an entry that cannot be looked up; None: as on one that is missing.

    Raises Damaged where the path leads through a symlink that the patch knows nothing of.
    """
    if barrier.path in chains:
        return None
    if barrier.kind == b"l":
        raise Damaged(
            f"{printable(path)} would lead through the symlink {printable(barrier.path)}, out of the directory it is"
            " applied to"
        )
    if not chain.end.there:
        return Judged(Verdict.DONE)
    what = "is missing" if barrier.kind == b"-" else "is no directory"
    return Judged(Verdict.CONFLICT, f"{printable(barrier.path)}, which it lies in, {what}")


def strangers(path: bytes, names: Iterable[bytes], chains: Mapping[bytes, Chain]) -> list[bytes]:
    """Return the entries of a directory that is to go which no patch knows."""
    return sorted(name for name in names if (path + b"/" + name) not in chains)


def must_go(end: State, found: State) -> bool:
    """Return whether an entry has to be removed before it can become what it is to be: no rename replaces it."""
    return found.there and found.kind != end.kind and (not end.there or end.is_directory or found.is_directory)


def deepest_first(paths: Iterable[bytes]) -> list[bytes]:
    """Return paths so that what is in a directory comes before it."""
    return sorted(paths, key=lambda path: (-path.count(b"/"), path))


_MODES = {b"f": S_IFREG, b"d": S_IFDIR, b"l": S_IFLNK, b"p": S_IFIFO, b"s": S_IFSOCK, b"c": S_IFCHR, b"b": S_IFBLK}


def letters(end: State, found: State | None) -> str:
    """Return rsync's letters for what becomes of an entry; found: what there is, None where that is nothing."""
    kind = _MODES[end.kind]
    if found is None or found.kind != end.kind:
        return change_letters(">" if end.kind == b"f" else "c", kind, NEW)
    pairs = {
        "s": (end.size, found.size),
        "t": (end.mtime, found.mtime),
        "p": (end.mode, found.mode),
        "o": (end.uid, found.uid),
        "g": (end.gid, found.gid),
        "x": (end.attributes or end.portable, found.attributes if end.attributes else found.portable),
    }
    changed = "".join(letter for letter, (one, other) in pairs.items() if one is not None and one != other)
    update = "."
    if not _same_content(end, found):
        changed, update = changed + "c", ">" if end.kind == b"f" else "c"
    return change_letters(update, kind, changed)
