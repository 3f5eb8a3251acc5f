"""Another user, who may write in the tree, swaps directories for symlinks while root removes: nothing outside it is
touched. The same attack is shown to work on programs that go by paths.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.copies import PLAIN, TINY_CHUNKS, state
from tests.support.launch import World
from tests.support.trees import Dir, File, Name, Node, build

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
EFFORT = 6  # seconds

# argv: the directory that holds the tree, outside. Run by another user, who owns the directories of the tree.
SWAP_DIRECTORIES = """
import os, sys
os.chdir(sys.argv[1])
number = 0
while True:
    for name in ("tree/sub", "tree/sub/deep", "tree/aside/deep"):
        for act in (lambda: os.rename(name, "tree/aside"), lambda: os.symlink(sys.argv[2], name),
                    lambda: os.unlink(name), lambda: os.rename("tree/aside", name)):
            try:
                act()
            except OSError:
                pass
"""
# A directory that has been emptied becomes a link, or a directory of somebody's is put under its name.
SWAP_AT_THE_END = """
import os, sys
os.chdir(sys.argv[1])
while True:
    for name in ("tree/sub", "tree/sub/deep", "tree"):
        try:
            if len(os.listdir(name)) < 15 and not os.path.islink(name):
                os.rename(name, f"moved{os.urandom(8).hex()}")
                os.symlink(sys.argv[2], name)
        except OSError:
            pass
"""


@contextmanager
def attacked(script: str, place: Path, outside: Path) -> Iterator[None]:
    python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
    attacker = subprocess.Popen([python, "-c", f"import os\nos.write(1, b'.')\n{script}", place, outside],
                                user="nobody", group="nogroup", extra_groups=[], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    try:
        # A program that removes by paths would be done before Python has started.
        assert attacker.stdout and attacker.stdout.read(1) == b"."
        yield
        assert attacker.poll() is None, attacker.stderr and attacker.stderr.read()
    finally:
        attacker.kill()
        attacker.wait()
        for pipe in (attacker.stdout, attacker.stderr):
            if pipe:
                pipe.close()


def files() -> dict[Name, Node]:
    return {f"f{i}": File(b"x") for i in range(20)}


@pytest.fixture
def scene(on_tmpfs: Path) -> tuple[Path, Path]:
    """Where the other user's tree is made, again and again, and a place of root's that has the same names."""
    shared, outside = on_tmpfs / "shared", on_tmpfs / "outside"
    build(outside, {**files(), "deep": Dir(files()), "d0": Dir(files()), "empty": Dir()}, owner=(0, 0))
    shared.mkdir()
    shutil.chown(shared, "nobody")
    return shared, outside


def rebuilt(shared: Path) -> None:
    for path in shared.iterdir():
        subprocess.run(["rm", "-rf", path])
    fresh = shared.with_name("fresh")
    entries: dict[Name, Node] = {**files(), "deep": Dir({**files(), "empty": Dir()}), "empty": Dir()}
    build(fresh, {"sub": Dir(entries), **{f"d{i}": Dir(files()) for i in range(5)}})
    subprocess.run(["chown", "-hR", "nobody:", fresh], check=True)
    os.rename(fresh, shared / "tree")


def harm(remover: Callable[[Path], object], script: str, scene: tuple[Path, Path], effort: float) -> int:
    """Let the remover run again and again under attack; return how many runs it took to do harm, 0 for none."""
    shared, outside = scene
    before = state(outside)
    until = time.monotonic() + effort
    runs = 0
    while time.monotonic() < until or runs <= 2:  # on a busy machine too
        rebuilt(shared)
        with attacked(script, shared, outside):
            remover(shared / "tree")
        runs += 1
        if state(outside) != before:
            return runs
    assert runs > 2
    return 0


def walk_and_unlink(tree: Path) -> None:
    """As many scripts do."""
    for directory, _, names in os.walk(tree, topdown=False):
        for name in names:
            try:
                os.unlink(os.path.join(directory, name))
            except OSError:
                pass
        try:
            os.rmdir(directory)
        except OSError:
            pass


def by_path(tree: Path) -> None:
    """As shutil.rmtree does where it has no descriptors."""
    try:
        entries = list(os.scandir(tree))
    except OSError:
        return
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                by_path(Path(entry.path))
            else:
                os.unlink(entry.path)
        except OSError:
            pass
    try:
        os.rmdir(tree)
    except OSError:
        pass


@pytest.mark.parametrize("remover", [walk_and_unlink, by_path])
def test_the_attack_works_on_a_program_that_goes_by_paths(
    remover: Callable[[Path], None], scene: tuple[Path, Path]
) -> None:
    assert harm(remover, SWAP_DIRECTORIES, scene, 10 * EFFORT) > 0


@pytest.mark.parametrize("more", [(), ("-e", "nothing", *TINY_CHUNKS)], ids=["chunks", "tiny-chunks"])
@pytest.mark.parametrize("script", [SWAP_DIRECTORIES, SWAP_AT_THE_END], ids=["directories", "at-the-end"])
def test_nothing_outside_is_touched(script: str, more: tuple[str, ...], scene: tuple[Path, Path]) -> None:
    codes: set[int] = set()

    def remover(tree: Path) -> None:
        done = PLAIN.run(["-rm", "-rf", tree, *more])
        assert "Traceback" not in done.stderr, str(done)
        codes.add(done.returncode)

    assert harm(remover, script, scene, EFFORT / 2) == 0
    assert codes <= {0, 1, 2, 23, 24}, codes
    # When it is quiet again, what is left can be removed.
    assert PLAIN.run(["-rm", "-rf", *scene[0].iterdir()]).returncode == 0 or not any(scene[0].iterdir())


def test_nothing_outside_is_touched_with_ranks(scene: tuple[Path, Path]) -> None:
    world = World("mpich", 3)
    if world.missing():
        pytest.skip(str(world.missing()))
    assert harm(lambda tree: world.run(["-rm", "-rf", tree]), SWAP_DIRECTORIES, scene, EFFORT / 2) == 0
