"""What patches do to one target: every row is looked at before anything is changed."""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hpcp_mpi.formats.entry_state import State
from hpcp_mpi.host.dirfd import Tree
from hpcp_mpi.host.entries import names_in
from hpcp_mpi.operations.imaging.patch.entry_looks import Looks, Seen
from hpcp_mpi.operations.imaging.patch.files import Patch, damaged
from hpcp_mpi.operations.imaging.rules.patch import (
    Chain,
    Chains,
    Damaged,
    File,
    Judged,
    NotNext,
    Verdict,
    behind,
    chains_of,
    deepest_first,
    files_of,
    judged,
    must_go,
    strangers,
)
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.paths import first_few, printable

_SHOWN = 3  # names in a reason


@dataclass(slots=True)
class Plan:
    """What has to be done. Paths are relative to the target."""

    chains: Chains
    seen: dict[bytes, Seen]
    files: dict[bytes, File]  # of each name which file it is one of in the end
    apply: dict[bytes, str] = field(default_factory=dict)  # entries, and why each is a conflict; "": it is none
    again: set[bytes] = field(default_factory=set)  # entries as they are to be, but for their hard links

    @property
    def conflicts(self) -> dict[bytes, str]:
        return {path: reason for path, reason in sorted(self.apply.items()) if reason}

    @property
    def nothing(self) -> bool:
        """Whether all is done already."""
        return not self.apply and not self.again

    def found(self, path: bytes) -> State:
        return self.seen[path].state

    def end(self, path: bytes) -> State:
        return self.chains[path].end

    def removals(self) -> list[bytes]:
        """Return what has to be removed, in this order."""
        return deepest_first(path for path in self.apply if must_go(self.end(path), self.found(path)))

    def directories(self) -> list[bytes]:
        """Return the directories that are to be made or to get metadata, each after those it lies in."""
        return sorted(path for path in self.apply if self.end(path).is_directory)

    def copies(self) -> list[bytes]:
        """Return what is to be copied from the patches, directories aside."""
        paths = {path for path in self.apply if self.end(path).there and not self.end(path).is_directory}
        return sorted(paths | self.again)


def plan_of(patches: Sequence[Patch], target: bytes, fd: int, looks: Looks, begun: bool, window: int) -> Plan:
    """Return what patches, in this order, have to do to a target. Raises FatalError, Stopped.

    target, fd: the directory. begun: a run that applied the same patches to it was ended in between.
    window: ns; mtimes nearer than this are equal
    """
    rows = [patch.rows for patch in patches]
    names = ", ".join(patch.name for patch in patches)
    try:
        chains = chains_of(rows)
        files = files_of(rows, chains)
        seen = looks.at({path: chain.hashed for path, chain in chains.items()})
        plan = Plan(chains, seen, files)
        tree = Tree(target, fd)
        try:
            for path, chain in chains.items():
                found = _judged(path, chain, seen[path], chains, begun, window)
                if found.verdict is not Verdict.CONFLICT and must_go(chain.end, seen[path].state):
                    found = _emptied(tree, path, chains) or found
                if found.verdict is not Verdict.DONE:
                    plan.apply[path] = found.reason
        finally:
            tree.close()
    except Damaged as error:
        raise damaged(names, str(error)) from None
    except NotNext as error:
        raise FatalError(
            f"these patches do not follow each other: {error} is not left by one as the next one expects it ({names})",
            "Name them in the order in which they were made.",
        ) from None
    plan.again.update(_links_to_mend(plan))
    return plan


def _judged(path: bytes, chain: Chain, seen: Seen, chains: Chains, begun: bool, window: int) -> Judged:
    if seen.barrier is not None:
        found = behind(path, chain, seen.barrier, chains)
        if found is not None:
            return found
    return judged(chain, seen.state, begun, window)


def _emptied(tree: Tree, path: bytes, chains: Chains) -> Judged | None:
    """Return the conflict of a directory that is to go and holds what no patch knows; None where there is none."""
    try:
        with tree.at(path) as directory:
            found = strangers(path, names_in(directory), chains)
    except NotADirectoryError:
        return None
    except OSError as error:
        return Judged(Verdict.CONFLICT, f"it is to be removed, and cannot be listed: {reason_of(error)}")
    if not found:
        return None
    return Judged(Verdict.CONFLICT, f"it is to be removed, and holds {first_few(found, _SHOWN)}")


def _links_to_mend(plan: Plan) -> set[bytes]:
    """Return the names whose hard links are not as they are to be: all names of such a file are copied again."""
    wrong = _wrong_links(plan.files, plan.seen)
    again = {plan.files[name] for name in {*plan.apply, *wrong} & plan.files.keys()}
    names = Counter(plan.files.values())
    several = {file for file in again if names[file] > 1}
    return wrong | {name for name, file in plan.files.items() if file in several}


def _wrong_links(files: Mapping[bytes, File], seen: Mapping[bytes, Seen]) -> set[bytes]:
    """Return the names that are one file with others which they are not to be one with, or the reverse."""
    by_inode: defaultdict[tuple[int, int], set[File]] = defaultdict(set)
    by_file: defaultdict[File, set[tuple[int, int]]] = defaultdict(set)
    for name, file in files.items():
        if seen[name].state.there:
            by_inode[seen[name].inode].add(file)
            by_file[file].add(seen[name].inode)
    return {
        name
        for name, file in files.items()
        if seen[name].state.there and (len(by_inode[seen[name].inode]) > 1 or len(by_file[file]) > 1)
    }


def wrong_after(plan: Plan, looks: Looks, window: int) -> dict[bytes, str]:
    """Return what is not as the patches leave it, with the reason, after all was done. Raises FatalError, Stopped."""
    seen = looks.at({path: chain.hashed for path, chain in plan.chains.items()})
    wrong: dict[bytes, str] = {}
    for path, chain in plan.chains.items():
        last = Chain((chain.end,), chain.patch)
        if judged(last, seen[path].state, False, window).verdict is not Verdict.DONE:
            wrong[path] = "it is not as the patch says" if chain.end.there else "it is still there"
    for name in _wrong_links(plan.files, seen):
        wrong.setdefault(name, "its hard links are not as the patch says")
    return wrong


def root_of(target: bytes) -> int:
    """Return a descriptor of the directory that patches are applied to. Raises FatalError."""
    try:
        return os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise FatalError(
            f"cannot open {printable(target)}, which the patch is for: {reason_of(error)}", "Name a directory with -d."
        ) from None
