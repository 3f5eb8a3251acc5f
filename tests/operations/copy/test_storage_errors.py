"""Whatever call of the storage fails, it is entries that fail: the run ends by itself, names them and does all others.

Every operation that a run calls on the destination's file system fails, one at a time, also inside the stages. Which
these are is found out by a run that is written down.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from tests.support.effort import TO_THE_END
from tests.support.launch import World
from tests.support.marks import needs_fuse, worlds
from tests.support.storage_errors import ERRNOS, Tried, attempt, scratch

pytestmark = needs_fuse

Fault = dict[str, Any]
_AT_ONCE = 4  # cases: most of their time they wait
# cp says nothing of an attribute that it could not set: its -a takes them along where that is possible.
_NOT_TOLD = ("setxattr",)
# By verb, what it calls in phases that a copy does not have.
_MORE = {
    "mirror": {"getattr", "opendir", "readdir", "rmdir", "unlink"},
    "verify": {"getattr", "open", "read", "fsync", "flush", "readlink"},
    "move": {"getattr", "opendir", "readlink"},
}
# A move makes a private directory in the source to read its clock. If just that cannot be removed again, or the
# source's mtime not be put back, it is seen.
_OF_THE_CLOCK = ("rmdir", "utimens")


def tried(verb: str, fault: Fault, side: str = "dst", **how: Any) -> Tried:
    with scratch() as place:
        return attempt(Path(place), verb, side, **fault, **how)


@functools.cache
def calls_of(verb: str, side: str = "dst") -> Mapping[str, int]:
    """How often each operation is called by a run in which nothing fails."""
    with scratch() as place:
        done = tried(verb, {"trace": f"{place}/calls"}, side)
    assert not done.wrong, f"{done.wrong}\n{done.output}"
    return dict(done.calls)


def all_of(verb: str, faults: list[Fault], side: str = "dst", **how: Any) -> list[Tried]:
    """Try each fault; fail with all that is wrong."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        results = list(pool.map(lambda fault: tried(verb, fault, side, **how), faults))
    wrong = [f"{fault}: {done.wrong}\n{done.output}" for fault, done in zip(faults, results, strict=True) if done.wrong]
    assert not wrong, "\n\n".join(wrong)
    return results


def always(operations: Iterable[str], numbers: Iterator[int]) -> list[Fault]:
    return [{"fail_op": operation, "fail_errno": next(numbers)} for operation in operations]


def some(operations: Mapping[str, int], which: int, of: int = 3) -> Mapping[str, int]:
    """Every third one, where other runs have other ones; all where we go to the end."""
    names = sorted(operations)
    return {name: operations[name] for at, name in enumerate(names) if TO_THE_END or at % of == which}


def once(operations: Mapping[str, int], numbers: Iterator[int], part: float) -> list[Fault]:
    """One call in the middle. A stale handle is tried again by the kernel itself, so it takes two."""
    return [
        {"fail_op": operation, "fail_errno": number, "fail_first": max(1, round(count * part)), "fail_count": 2}
        for (operation, count), number in zip(operations.items(), numbers, strict=False)
        if operation not in _NOT_TOLD
    ]


@pytest.mark.parametrize("verb", ["new", "again", "remove", "compare"])
def test_each_operation_of_the_destination_fails(verb: str) -> None:
    operations = calls_of(verb)
    if verb == "again":  # what a new copy calls too was tried there, but for every second one
        new = calls_of("new")
        operations = {name: operations[name] for name in operations if name not in new or name in some(new, 1, of=2)}
    elif verb == "new":
        operations = dict(some(operations, 0, of=2))
    results = all_of(verb, always(operations, cycle(ERRNOS)))
    assert any(result.code == 23 for result in results)


@pytest.mark.parametrize("verb", _MORE)
def test_what_a_verb_does_besides_copying_fails(verb: str) -> None:
    found = calls_of(verb)
    assert found.keys() >= _MORE[verb]
    operations = {name: count for name, count in found.items() if name in _MORE[verb]}
    # The last calls are those of the last phases.
    faults = [*always(some(operations, 0), cycle(ERRNOS)), *once(some(operations, 1), cycle(ERRNOS[1:]), 0.9)]
    all_of(verb, faults)


@pytest.mark.parametrize("part", [0.25, 0.75])
def test_one_call_of_each_operation_fails(part: float) -> None:
    all_of("new", once(some(calls_of("new"), 2 if part > 0.5 else 1), cycle(ERRNOS), part))


def test_each_operation_fails_inside_the_stages() -> None:
    operations = {name: count for name, count in calls_of("new").items() if name not in ("statfs", *_NOT_TOLD)}
    operations = dict(some(operations, 1))  # the others fail everywhere, a few lines above
    faults = [{**fault, "fail_path": ".hpcp-mpi."} for fault in always(operations, cycle(ERRNOS))]
    assert any(result.code == 23 for result in all_of("new", faults))


@pytest.mark.parametrize("verb", ["new", "move"])
def test_each_operation_of_the_source_fails(verb: str) -> None:
    operations = calls_of(verb, "src")
    assert {"open", "read", "getattr", "readdir"} <= operations.keys()
    others = {name: count for name, count in operations.items() if name not in _OF_THE_CLOCK}
    if verb == "move":
        new = calls_of("new", "src")
        others = {name: others[name] for name in others if name not in new or name in some(new, 1)}
    else:
        others = dict(some(others, 0))
    all_of(verb, always(others, cycle(ERRNOS)), "src")


def test_what_is_over_in_a_moment_is_tried_again_and_nothing_fails() -> None:
    numbers = cycle((errno.ESTALE, errno.ENOTCONN))
    operations = {name: count for name, count in calls_of("again").items() if name not in _NOT_TOLD}
    faults = [
        {"fail_op": name, "fail_errno": next(numbers), "fail_first": max(1, count // 2), "fail_count": 2}
        for name, count in some(operations, 0, of=2).items()
    ]
    results = all_of("again", faults)
    failed = {str(fault): result.failures for fault, result in zip(faults, results, strict=True) if result.code}
    assert not failed


@pytest.mark.parametrize("world", worlds((4,), launchers=("mpich", "openmpi")))
def test_calls_of_one_worker_fail(world: World) -> None:
    # The names of stages tell whose they are: of rank 2.
    operations = ("getattr", "mkdir", "create", "write", "rename", "rmdir")
    faults = [{"fail_op": name, "fail_errno": errno.EIO, "fail_path": ".2."} for name in operations]
    if not TO_THE_END:
        faults = faults[::2] if world.flavour == "openmpi" else faults[1::2]
    all_of("new", faults, world=world)
