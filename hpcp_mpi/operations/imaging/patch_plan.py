"""What patches do to one target: every row is looked at before anything is changed."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from hpcp_mpi.formats.entry_state import State
from hpcp_mpi.formats.patch_rows import Pair
from hpcp_mpi.host.dirfd import Tree
from hpcp_mpi.host.entries import names_in
from hpcp_mpi.operations.imaging.entry_looks import Looks, Seen
from hpcp_mpi.operations.imaging.patch_files import Patch, damaged
from hpcp_mpi.operations.imaging.rules.patch import (
    Chain,
    Chains,
    Damaged,
    Judged,
    NotNext,
    Verdict,
    behind,
    chains_of,
    deepest_first,
    judged,
    must_go,
    pairs_of,
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
    linked: list[Pair]  # names that are one file in the end
    separate: list[Pair]  # names that are two files in the end
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
        linked, separate = pairs_of(rows)
        seen = looks.at({path: chain.hashed for path, chain in chains.items()})
        plan = Plan(chains, seen, linked, separate)
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
    groups: dict[bytes, set[bytes]] = {}
    for pair in plan.linked:
        both = groups.get(pair[0], {pair[0]}) | groups.get(pair[1], {pair[1]})
        for name in both:
            groups[name] = both
    found: set[bytes] = set()
    for names in groups.values():
        inodes = {plan.seen[name].inode for name in names}
        if len(inodes) > 1 or any(name in plan.apply for name in names):
            found |= names
    for pair in plan.separate:
        one, other = (plan.seen[name] for name in pair)
        if one.state.there and one.inode == other.inode:
            found.update(pair)
    return {name for name in found if plan.end(name).there}


def wrong_after(plan: Plan, looks: Looks, window: int) -> dict[bytes, str]:
    """Return what is not as the patches leave it, with the reason, after all was done. Raises FatalError, Stopped."""
    seen = looks.at({path: chain.hashed for path, chain in plan.chains.items()})
    wrong: dict[bytes, str] = {}
    for path, chain in plan.chains.items():
        last = Chain((chain.end,), chain.patch)
        if judged(last, seen[path].state, False, window).verdict is not Verdict.DONE:
            wrong[path] = "it is not as the patch says" if chain.end.there else "it is still there"
    for pairs, together in ((plan.linked, True), (plan.separate, False)):
        for one, other in pairs:
            same_file = seen[one].inode == seen[other].inode
            if seen[one].state.there and same_file is not together:
                wrong.setdefault(other, f"it is {'not ' if together else ''}one file with {printable(one)}")
    return wrong


def root_of(target: bytes) -> int:
    """Return a descriptor of the directory that patches are applied to. Raises FatalError."""
    try:
        return os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise FatalError(
            f"cannot open {printable(target)}, which the patch is for: {reason_of(error)}", "Name a directory with -d."
        ) from None
