"""Helpers of the tests of removals: runs, and an independent walk that finds the remaining entries."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable
from pathlib import Path

from tests.support import oracle
from tests.support.copies import PLAIN, Copied, copy
from tests.support.launch import Argument, World


def remove(*args: Argument, world: World = PLAIN, code: int = 0, **setting: object) -> Copied:
    """Run -rm -rf with --json, expect the exit code and no process left, and return its report."""
    return copy("-rm", "-rf", *args, world=world, code=code, **setting)


def removed_entries(done: Copied) -> int:
    removed = done.report["removed"]
    return sum(removed[kind] for kind in ("files", "directories", "links", "other"))


def gone(*paths: Path) -> bool:
    return not any(os.path.lexists(path) for path in paths)


def left_by_rule(root: Path, patterns: Iterable[str]) -> set[bytes]:
    """The entries of a tree that stay: those that are excluded, all that is in them, and the directories above them.

    Paths relative to root; b"" is the root, which stays if anything does.
    """
    wanted = [pattern if pattern.startswith(("/", "*/")) else f"*/{pattern}" for pattern in patterns]
    stay: set[bytes] = set()
    for path in oracle.entries(root):
        parts = os.fsdecode(path).split("/")
        for end in range(1, len(parts) + 1):
            upper = "/".join([os.fsdecode(root), *parts[:end]])
            if any(fnmatch.fnmatchcase(upper, pattern) for pattern in wanted):
                stay.add(path)
                stay.update(os.fsencode("/".join(parts[:at])) for at in range(end))
                break
    return stay
