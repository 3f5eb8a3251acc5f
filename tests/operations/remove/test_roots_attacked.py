"""Another user swaps what root named, after it was looked at: it is what was looked at that goes, or nothing.

The moments are exact: a hook in the run lets the other user act. The other directory has the inode number of the one
that was named, on another file system, as two tmpfs give out the same numbers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.copies import PLAIN, state
from tests.support.launch import Finished, World
from tests.support.trees import Dir, File, build

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

WORLDS = [PLAIN, World("mpich", 3)]
# argv: the module and the name of a function; before or after it the other user runs a command. Then those of the tool.
HOOK = """
import importlib, os, subprocess, sys
module, name, when = sys.argv[1:4]
there = importlib.import_module(module)
original = getattr(there, name)
def act():
    subprocess.run(["sh", "-ec", os.environ["ATTACK"]], user="nobody", group="nogroup", extra_groups=[], check=True)
def hooked(*args, **more):
    if when == "before":
        act()
    found = original(*args, **more)
    if when == "after":
        act()
    return found
setattr(there, name, hooked)
sys.argv[1:4] = []
from hpcp_mpi.cli.main import console
sys.exit(console())
"""


def attacked(world: World, moment: tuple[str, str, str], attack: str, *args: str | Path) -> Finished:
    missing = world.missing()
    if missing:
        pytest.skip(missing)
    done = world.run([*moment, *args], python_args=("-c", HOOK), env={"ATTACK": attack})
    assert "Traceback" not in done.stderr, str(done)
    assert done.left_behind == (), str(done)
    return done


# Between the first look and what follows from it; and while the question is shown.
LOOKED_AT = ("hpcp_mpi.operations.remove.prepare", "_once", "before")
ASKED = ("hpcp_mpi.operations.remove.prepare", "removable", "after")


@pytest.fixture
def scene(on_tmpfs: Path) -> Iterator[tuple[Path, Path]]:
    """A directory of the other user's, and one of root's that has the same inode number elsewhere."""
    mounts = [on_tmpfs / "mine", on_tmpfs / "yours"]
    try:
        for mount in mounts:
            mount.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0755", "none", mount], check=True)
            (mount / "d").mkdir()
            build(mount / "d/zz", {"f": File(b"precious", owner=(0, 0)), "sub": Dir({"g": File(b"too")})})
        mine, yours = mounts
        subprocess.run(["chown", "-R", "nobody:nogroup", yours / "d"], check=True)
        os.chmod(mine / "d/zz", 0o700)
        assert os.stat(mine / "d/zz").st_ino == os.stat(yours / "d/zz").st_ino
        yield yours / "d/zz", mine / "d/zz"
    finally:
        for mount in mounts:
            subprocess.run(["umount", "-l", mount], check=True)


def swap(path: Path, target: Path) -> str:
    return f"mv {path} {path}.aside; ln -s {target} {path}"


def naive(path: Path, attack: str) -> None:
    """Looks at what it is to remove, asks, looks again by path, and compares inode numbers."""
    number = os.lstat(path).st_ino
    subprocess.run(["sh", "-ec", attack], user="nobody", group="nogroup", extra_groups=[], check=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if os.fstat(fd).st_ino == number:
            for entry in list(os.scandir(fd)):
                shutil.rmtree(entry.name, dir_fd=fd) if entry.is_dir() else os.unlink(entry.name, dir_fd=fd)
    finally:
        os.close(fd)


def test_the_swap_works_on_a_program_that_compares_inode_numbers(scene: tuple[Path, Path]) -> None:
    naive(scene[0], swap(*scene))
    assert not any(scene[1].iterdir())


@pytest.mark.parametrize(
    "moment, more, world",
    [(LOOKED_AT, (), PLAIN), (ASKED, (), PLAIN), (LOOKED_AT, (), WORLDS[1]), (ASKED, ("--max-delete", "9"), WORLDS[1])],
    ids=["looked-at", "asked", "looked-at-ranks", "asked-ranks"],
)
def test_a_directory_that_becomes_a_link_to_one_of_the_same_number_is_not_emptied_there(
    moment: tuple[str, str, str], more: tuple[str, ...], world: World, scene: tuple[Path, Path]
) -> None:
    yours, mine = scene
    before = state(mine)
    done = attacked(world, moment, swap(yours, mine), "-rm", "-rf", yours, *more)
    assert state(mine) == before, str(done)
    assert done.returncode in (1, 23)
    assert yours.is_symlink()


@pytest.mark.parametrize("moment, world", [(LOOKED_AT, PLAIN), (ASKED, WORLDS[1])], ids=["looked-at", "asked-ranks"])
def test_a_parent_that_becomes_a_link_is_not_followed(
    moment: tuple[str, str, str], world: World, scene: tuple[Path, Path]
) -> None:
    yours, mine = scene
    (yours / "f").rename(yours / "plain")  # a file, so that its directory is what ranks open
    os.link(mine / "f", mine / "plain")
    before = state(mine)
    done = attacked(world, moment, swap(yours, mine), "-rm", "-rf", yours / "plain")
    assert state(mine) == before, str(done)
    assert done.returncode in (0, 1)


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_of_many_directories_of_one_parent_the_one_that_was_replaced_is_kept(world: World, on_tmpfs: Path) -> None:
    """A third user's directory gets the name, in a directory that both may write to."""
    shared = on_tmpfs / "shared"
    build(
        shared, {**{f"d{i:02}": Dir({"f": File(), "sub": Dir({"g": File()})}) for i in range(20)}, "file": File(b"1")}
    )
    build(shared / "private", {"f": File(b"precious", owner=(0, 0))})
    build(on_tmpfs / "other", {"x": File(b"precious", owner=(0, 0))})
    os.rename(on_tmpfs / "other/x", shared / "secret")
    os.chmod(shared, 0o777)
    os.chmod(shared / "private", 0o700)
    kept = os.lstat(shared / "private").st_ino, state(shared / "private")[b"f"], os.lstat(shared / "secret").st_ino
    attack = f"cd {shared}; mv d07 aside; mv private d07; mv file file.aside; mv secret file"
    done = attacked(world, ASKED, attack, "-rm", "-rf", *[shared / f"d{i:02}" for i in range(20)], shared / "file")
    assert done.returncode == 23, str(done)
    assert done.stderr.count("it was replaced meanwhile; the new entry was kept") == 2, str(done)
    now = os.lstat(shared / "d07").st_ino, state(shared / "d07")[b"f"], os.lstat(shared / "file").st_ino
    assert now == kept
    assert sorted(os.listdir(shared)) == ["aside", "d07", "file", "file.aside"]


def test_many_directories_that_nobody_touches_all_go(on_tmpfs: Path) -> None:
    build(on_tmpfs / "t", {f"d{i:02}": Dir({"f": File(), "sub": Dir({"g": File()})}) for i in range(20)})
    PLAIN.run(["-rm", "-rf", *(on_tmpfs / "t").iterdir()]).check()
    assert not any((on_tmpfs / "t").iterdir())


@pytest.mark.parametrize(
    "options, world",
    [((), PLAIN), (("--backup-dir", "bak"), PLAIN), (("-rme", "-rf"), WORLDS[1])],
    ids=["copy", "backup", "mirror-ranks"],
)
def test_a_destination_that_is_swapped_after_it_was_checked_is_not_what_is_written_to(
    options: tuple[str, ...], world: World, scene: tuple[Path, Path], on_tmpfs: Path
) -> None:
    yours, mine = scene
    build(on_tmpfs / "src", {"f": File(b"new"), "sub": Dir({"h": File(b"new")})})
    before = state(mine)
    moment = ("hpcp_mpi.operations.copy.rank0", "prepare", "after")
    done = attacked(world, moment, swap(yours, mine), on_tmpfs / "src", yours, *options)
    assert state(mine) == before, str(done)
    assert done.returncode in (0, 1), str(done)
    if world is PLAIN:  # what was checked is what is written to
        assert (yours.with_name("zz.aside") / "f").read_bytes() == b"new"


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_a_source_that_is_swapped_before_a_move_removes_is_not_what_goes(
    world: World, scene: tuple[Path, Path], on_tmpfs: Path
) -> None:
    yours, mine = scene
    subprocess.run(["cp", "-a", "--no-preserve=ownership", f"{yours}/.", mine], check=True)
    subprocess.run(["cp", "-a", f"{mine}/.", yours], check=True)  # the copy would be good for both
    before = state(mine)
    moment = ("hpcp_mpi.operations.move.rank0", "move", "before")
    done = attacked(world, moment, swap(yours, mine), "-rm", "-rf", yours, "-d", on_tmpfs / "dst")
    assert state(mine) == before, str(done)
    assert done.returncode in (1, 23), str(done)
