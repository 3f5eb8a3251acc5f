"""What a distributed file system is asked for, counted by the kernel: no file costs more than with what others use."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.dfs.places import Place
from tests.support.fuse_requests import ASIDE, Counter, unavailable
from tests.support.launch import World
from tests.support.marks import needs_commands

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))

DIRECTORIES, FILES = 4, 100  # in each
EACH = 12  # requests more for a directory: it is listed, made in a stage and renamed
ONCE = 60  # requests more for a run: the file system is tried
PLAIN = World("plain")
Word = str | Path


@pytest.fixture
def tree(on_tmpfs: Path) -> Path:
    root = on_tmpfs / "tree"
    for directory in range(DIRECTORIES):
        (root / f"{directory}").mkdir(parents=True)
        for file in range(FILES):
            (root / f"{directory}/{file}").write_text("content\n")
    return root


@pytest.fixture
def copy(tree: Path, on_dfs: Place) -> Path:
    """A copy that is seconds younger than its source, and that no client remembers."""
    for _ in range(2):  # whole seconds on MooseFS, and one that clocks may differ by
        on_dfs.volume.settle()
    made = on_dfs.clients[0] / "copy"
    subprocess.run(["cp", "-a", tree, made], check=True)
    on_dfs.volume.settle()
    return made


def asked_by(run: Callable[[], object], place: Place) -> int:
    """How many requests somebody waits for while something runs."""
    with Counter(place.clients[0]) as counter:
        run()
    return sum(count for kind, count in counter.requests.items() if kind not in ASIDE)


def theirs(place: Place, *words: Word) -> int:
    return asked_by(lambda: subprocess.run(words, check=True), place)


def ours(place: Place, *words: Word) -> int:
    return asked_by(lambda: PLAIN.run(words).check(), place)


@needs_commands("rsync")
def test_a_resync_judged_by_lstat_asks_for_no_more_than_rsync(tree: Path, copy: Path, on_dfs: Place) -> None:
    enough = theirs(on_dfs, "rsync", "-a", f"{tree}/", f"{copy}/")
    assert ours(on_dfs, "-hs", "0", tree, copy) <= enough + DIRECTORIES * EACH + ONCE


def test_a_copy_asks_for_no_more_than_cp(tree: Path, on_dfs: Place) -> None:
    enough = theirs(on_dfs, "cp", "-a", tree, on_dfs.clients[0] / "theirs")
    assert ours(on_dfs, tree, on_dfs.clients[0] / "ours") <= enough + DIRECTORIES * EACH + ONCE


def test_a_removal_asks_for_no_more_than_rm(tree: Path, copy: Path, on_dfs: Place) -> None:
    other = copy.with_name("other")
    subprocess.run(["cp", "-a", tree, other], check=True)
    enough = theirs(on_dfs, "rm", "-rf", other)
    assert ours(on_dfs, "-rm", "-rf", copy) <= enough + DIRECTORIES * EACH + ONCE
