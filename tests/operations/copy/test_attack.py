"""Another user who owns the destination swaps directories and files for symlinks while root copies: nothing outside the
tree is made, changed or removed. Each attack is shown to work on a copier that does not look.
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

from tests.support.copies import PLAIN, TINY_CHUNKS, State, state
from tests.support.launch import World
from tests.support.trees import Dir, File, build

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
EFFORT = 8  # seconds

# argv: destination, outside. Run by another user, who owns the destination.
SWAP_DIRECTORY = """
import os, sys
os.chdir(sys.argv[1])
while True:
    for act in (lambda: os.rename("sub", "aside"), lambda: os.symlink(sys.argv[2], "sub"),
                lambda: os.unlink("sub"), lambda: os.rename("aside", "sub")):
        try:
            act()
        except OSError:
            pass
    # What root puts in the way goes away, so that it has to be made anew.
    try:
        if os.path.isdir("aside") and os.path.isdir("sub") and not os.path.islink("sub"):
            os.rename("sub", f"gone{os.urandom(8).hex()}")
    except OSError:
        pass
"""
SWAP_FILE = """
import os, sys
os.chdir(sys.argv[1] + "/sub")
victims = sorted(os.listdir(sys.argv[2]))
while True:
    for name in victims:
        for act in (lambda: os.unlink(name), lambda: os.symlink(f"{sys.argv[2]}/{name}", name)):
            try:
                act()
            except OSError:
                pass
"""
# The stages of the copier are what an attacker would go for who has read its source.
SWAP_STAGE = """
import os, sys
os.chdir(sys.argv[1])
number = 0
while True:
    for top in (".", "sub"):
        try:
            names = os.listdir(top)
        except OSError:
            continue
        for name in names:
            if name.startswith(".hpcp-mpi."):
                number += 1
                try:
                    os.rename(f"{top}/{name}", f"aside{number}")
                    os.symlink(sys.argv[2], f"{top}/{name}")
                except OSError:
                    pass
"""


@contextmanager
def attacked(script: str, dst: Path, outside: Path) -> Iterator[None]:
    command = ["/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable, "-c", script, dst, outside]
    attacker = subprocess.Popen(command, user="nobody", group="nogroup", extra_groups=[], stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # fmt: skip
    try:
        yield
        assert attacker.poll() is None, attacker.stderr and attacker.stderr.read()
    finally:
        attacker.kill()
        attacker.wait()
        if attacker.stderr:
            attacker.stderr.close()


@pytest.fixture
def scene(on_tmpfs: Path, everyone: Callable[[Path], Path]) -> tuple[Path, Path, Path]:
    """The attacker's source and destination, and a place of root's that the attacker cannot write to.

    The source is the attacker's too: a copy gives the destination its owner, and root's would end the attack.
    """
    names = [f"f{i}" for i in range(20)]
    build(on_tmpfs / "src", {"sub": Dir({name: File(b"from the source") for name in names})})
    build(on_tmpfs / "outside", {name: File(b"precious") for name in names[:10]}, owner=(0, 0))
    build(on_tmpfs / "dst", {"sub": Dir({name: File(b"old") for name in names})})
    return everyone(on_tmpfs / "src"), everyone(on_tmpfs / "dst"), on_tmpfs / "outside"


def harm(copier: Callable[[], object], script: str, scene: tuple[Path, Path, Path], effort: float) -> int:
    """Let the copier run again and again under attack; return how many runs it took to do harm, 0 for none."""
    src, dst, outside = scene
    before = state(outside)
    until = time.monotonic() + effort
    runs = 0
    with attacked(script, dst, outside):
        while time.monotonic() < until:
            copier()
            runs += 1
            if state(outside) != before:
                return runs
            # The source changes, so that there is always something to write.
            for path in (src / "sub").iterdir():
                path.write_bytes(os.urandom(15))
    return 0


def naive(src: Path, dst: Path) -> None:
    subprocess.run(["cp", "-a", f"{src}/.", dst], capture_output=True)


def naive_open(src: Path, dst: Path) -> None:
    """Writes through whatever has the name, as `shutil` does."""
    for path in (src / "sub").iterdir():
        try:
            shutil.copyfile(path, dst / "sub" / path.name)
        except OSError:
            pass


ATTACKS = [("a-directory", SWAP_DIRECTORY, naive), ("files", SWAP_FILE, naive_open)]


@pytest.mark.parametrize("name, script, copier", ATTACKS, ids=[each[0] for each in ATTACKS])
def test_the_attack_works_on_a_copier_that_does_not_look(
    name: str, script: str, copier: Callable[[Path, Path], None], scene: tuple[Path, Path, Path]
) -> None:
    assert harm(lambda: copier(*scene[:2]), script, scene, 2 * EFFORT) > 0


@pytest.mark.parametrize("chunks", [(), TINY_CHUNKS], ids=["chunks", "tiny-chunks"])
@pytest.mark.parametrize(
    "script", [SWAP_DIRECTORY, SWAP_FILE, SWAP_STAGE], ids=["swap-a-directory", "swap-files", "swap-stages"]
)
def test_nothing_outside_is_harmed(script: str, chunks: tuple[str, ...], scene: tuple[Path, Path, Path]) -> None:
    codes: set[int] = set()

    def copier() -> None:
        done = PLAIN.run([scene[0], scene[1], *chunks])
        assert "Traceback" not in done.stderr, str(done)
        codes.add(done.returncode)

    assert harm(copier, script, scene, EFFORT / 2) == 0
    assert codes <= {0, 1, 23, 24}
    # When it is quiet again, the tree can be copied.
    for name in os.listdir(scene[1]):
        if os.path.islink(scene[1] / name):
            os.unlink(scene[1] / name)
    assert PLAIN.run([scene[0], scene[1]]).returncode == 0


def test_nothing_outside_is_harmed_with_ranks(scene: tuple[Path, Path, Path]) -> None:
    world = World("mpich", 3)
    if world.missing():
        pytest.skip(str(world.missing()))
    assert harm(lambda: world.run([scene[0], scene[1]]), SWAP_DIRECTORY, scene, EFFORT / 2) == 0


def test_what_the_attacker_puts_in_place_of_a_stage_is_not_emptied(scene: tuple[Path, Path, Path]) -> None:
    """A stage that was swapped for a directory of somebody's is not what is cleared away."""
    src, dst, _ = scene
    build(dst / "of-root", {"kept": File(b"k", owner=(0, 0))}, owner=(0, 0))
    os.rename(dst / "of-root", dst / ".hpcp-mpi.00000000.1.0")
    before: State = state(dst / ".hpcp-mpi.00000000.1.0")
    os.chown(dst / ".hpcp-mpi.00000000.1.0", 65534, 65534)
    PLAIN.run([src, dst])
    assert (dst / ".hpcp-mpi.00000000.1.0/kept").exists()
    assert len(before) == 2
