"""Another user, who owns what root copies, exchanges directories and files of the source at the moment in which `cp` is
about to open them, and puts them back when it has ended. Each attack is shown to work on plain `cp -a`.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import attacked_cp
from tests.support.attacked_cp import attacked, using
from tests.support.copies import PLAIN
from tests.support.launch import World
from tests.support.trees import Dir, Fifo, File, HardLink, Symlink, build

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(attacked_cp.unavailable() is not None, reason=str(attacked_cp.unavailable())),
]
SECRET = b"root's own\n"
NOBODY = 65534
WORLDS = [PLAIN, World("mpich", 3)]


@pytest.fixture
def scene(on_tmpfs: Path, everyone: Callable[[Path], Path]) -> tuple[Path, Path, Path]:
    """The attacker's tree, a place for copies, and a directory that only root may enter, with a file that all may read.

    The tree was left alone for long enough that `cp` may copy all of it at once.
    """
    inner = {"f1": File(b"one"), "f2": File(b"two"), "link": Symlink("f1"), "twin": HardLink("top/sub/f1")}
    tree = {"top": Dir({"sub": Dir(inner, mode=0o755), "other": Dir({"g": File(b"g")}, mode=0o775)})}
    build(on_tmpfs / "src", tree)
    build(on_tmpfs / "private", {"f1": File(SECRET), "f2": File(SECRET)}, owner=(0, 0))
    (on_tmpfs / "private").chmod(0o700)
    on_tmpfs.chmod(0o755)
    src = everyone(on_tmpfs / "src")
    time.sleep(0.1)
    return src, on_tmpfs / "dst", on_tmpfs / "private"


def leaked(dst: Path) -> list[str]:
    """The copies of the secret."""
    return [str(path) for path in dst.rglob("*") if path.is_file() and path.read_bytes() == SECRET]


def swap_directory(private: Path) -> dict[str, str]:
    return {
        "at": "top/sub",
        "before": f"mv top/sub top/aside; ln -s {private} top/sub",
        "after": "rm top/sub; mv top/aside top/sub",
    }


def swap_back_early(private: Path) -> dict[str, str]:
    """As above, but the name leads where it should long before `cp` ends."""
    return {
        "at": "sub/f2",
        "before": f"mv top/sub top/aside; ln -s {private} top/sub",
        "after": "rm top/sub; mv top/aside top/sub",
    }


SWAP_FIFO = {"at": "sub/f2", "before": "mv top/sub/f2 top/aside; mkfifo top/sub/f2", "after": "true"}


def copy_of(src: Path, dst: Path) -> str:
    """What rsync sees of difference between a source and its copy."""
    command = ["rsync", "-aHAXni", "--delete", f"{src}/", f"{dst}/"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_cp_alone_follows_a_directory_that_is_exchanged(scene: tuple[Path, Path, Path]) -> None:
    src, dst, private = scene
    with attacked(**swap_directory(private), cwd=src) as place:
        subprocess.run([place / "cp", "-a", src, dst], capture_output=True)
        assert (place / "happened").exists()
    assert leaked(dst)
    assert (dst / "top/sub").stat().st_uid == NOBODY  # who may enter it


def test_cp_alone_waits_for_ever_for_a_pipe_that_is_swapped_in(scene: tuple[Path, Path, Path]) -> None:
    src, dst, _ = scene
    with attacked(**SWAP_FIFO, cwd=src) as place:
        with pytest.raises(subprocess.TimeoutExpired):
            subprocess.run([place / "cp", "-a", src, dst], capture_output=True, timeout=2)


@pytest.mark.parametrize("options", [(), ("-pfl",), ("--verify",)], ids=["scan", "pfl", "verify"])
@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_no_other_directory_is_copied_in_place_of_one_that_is_exchanged(
    world: World, options: tuple[str, ...], scene: tuple[Path, Path, Path]
) -> None:
    src, dst, private = scene
    with attacked(**swap_directory(private), cwd=src) as place:
        done = world.run([src, dst, *options], **using(place))
        assert (place / "happened").exists(), str(done)
    assert leaked(dst) == []
    assert done.returncode == 0, str(done)  # it was put back: it is copied by descriptor
    assert copy_of(src, dst) == ""


def test_a_file_of_a_directory_that_is_exchanged_is_not_copied(scene: tuple[Path, Path, Path]) -> None:
    src, dst, private = scene
    with attacked(**swap_back_early(private), cwd=src) as place:
        done = PLAIN.run([src, dst], **using(place))
        assert (place / "happened").exists(), str(done)
    assert leaked(dst) == []
    assert done.returncode == 0, str(done)
    assert copy_of(src, dst) == ""


def test_what_stays_exchanged_is_copied_as_the_symlink_that_it_is(scene: tuple[Path, Path, Path]) -> None:
    src, dst, private = scene
    with attacked(**{**swap_directory(private), "after": "true"}, cwd=src) as place:
        done = PLAIN.run([src, dst], **using(place))
        assert (place / "happened").exists(), str(done)
    assert leaked(dst) == []
    assert done.returncode == 0, str(done)
    assert os.readlink(dst / "top/sub") == str(private)
    assert copy_of(src, dst) == ""


def test_no_cp_walks_a_tree_of_which_content_alone_is_copied(scene: tuple[Path, Path, Path]) -> None:
    src, dst, private = scene
    with attacked(**swap_directory(private), cwd=src) as place:
        done = PLAIN.run([src, dst, "-co"], **using(place))
        assert not (place / "happened").exists(), str(done)
    assert leaked(dst) == []
    assert done.returncode == 0, str(done)
    assert subprocess.run(["diff", "-r", src, dst]).returncode == 0


@pytest.mark.parametrize("options", [(), ("-pfl",)], ids=["scan", "pfl"])
@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_a_pipe_that_is_swapped_in_does_not_hang_a_copy(
    world: World, options: tuple[str, ...], scene: tuple[Path, Path, Path]
) -> None:
    src, dst, _ = scene
    with attacked(**SWAP_FIFO, cwd=src) as place:
        done = world.run([src, dst, *options], **using(place), timeout=30)
        assert (place / "happened").exists(), str(done)
    assert done.returncode == 0, str(done)
    assert done.left_behind == ()
    assert (dst / "top/sub/f2").is_fifo()
    assert copy_of(src, dst) == ""


def test_a_pipe_in_place_of_a_file_in_an_existing_directory_does_not_hang_a_copy(
    scene: tuple[Path, Path, Path],
) -> None:
    """Many files, as few ones are copied by descriptor in any case."""
    src, dst, _ = scene
    for number in range(40):
        (src / f"top/sub/more{number}").write_bytes(b"m")
    (dst / "top/sub").mkdir(parents=True)
    with attacked(**{**SWAP_FIFO, "at": "f2"}, cwd=src) as place:
        done = PLAIN.run([src, dst], **using(place), timeout=30)
        assert (place / "happened").exists(), str(done)
    assert done.returncode == 0, str(done)
    assert (dst / "top/sub/f2").is_fifo()
    assert len(os.listdir(dst / "top/sub")) == 44


def test_what_others_changed_a_moment_ago_is_copied_entry_by_entry(scene: tuple[Path, Path, Path]) -> None:
    """No `cp` walks it, so that nothing can be exchanged there."""
    src, dst, private = scene
    with attacked(**swap_directory(private), cwd=src) as place:
        done = PLAIN.run([src, dst], **using(place, margin=60))
        assert not (place / "happened").exists(), str(done)
    assert done.returncode == 0, str(done)
    assert copy_of(src, dst) == ""


def test_a_subtree_in_a_directory_in_use_is_copied_at_once_by_its_descriptor(scene: tuple[Path, Path, Path]) -> None:
    """Its name may be exchanged for another one's while `cp` runs, as that does not look it up."""
    src, dst, private = scene
    (src / "top").rename(src / "tap")  # the source changed, and `tap` did not
    time.sleep(0.1)
    build(src / "home", {"new": Dir({"n": File(b"n")})})
    before = f"mv tap aside; ln -s {private} tap"
    with attacked("sub/f2", before, "rm tap; mv aside tap", cwd=src) as place:
        os.utime(src, ns=(1, 1))
        done = PLAIN.run([src, dst], **using(place, margin=0.05))
        assert (place / "happened").exists(), str(done)
    assert done.returncode == 0, str(done)
    assert leaked(dst) == []
    assert copy_of(src, dst) == ""


def test_what_is_copied_by_descriptor_is_a_true_copy(scene: tuple[Path, Path, Path]) -> None:
    """All kinds of entries, names and metadata, below a directory that is exchanged while `cp` is there."""
    src, dst, private = scene
    special = {
        "pipe": Fifo(mode=0o600),
        "empty": Dir({}, mode=0o2750, mtime_ns=10**18),
        "new\nline": File(b"n", xattrs={"user.note": b"kept"}, mtime_ns=10**9),
        "acl": Dir(
            {"a": File(b"a", acl="u::rw-,u:1:r--,g::r--,m::rw-,o::---")},
            default_acl="u::rwx,u:1:rwx,g::r-x,m::rwx,o::---",
        ),
        "dangling": Symlink("nowhere", mtime_ns=5),
        "others": File(b"o", owner=(1, 2), mode=0o4755),
        "many": Dir({f"f{number}": File(b"%d" % number) for number in range(450)}),
        "closed": Dir({"c": File(b"c")}, mode=0o500, owner=(1, 1)),
    }
    build(src / "top/special", special)
    os.link(src / "top/special/others", src / "top/special/many/linked")
    time.sleep(0.1)
    with attacked(**swap_directory(private), cwd=src) as place:
        done = PLAIN.run([src, dst], **using(place))
        assert (place / "happened").exists(), str(done)
    assert done.returncode == 0, str(done)
    assert copy_of(src, dst) == ""
    assert (dst / "top/special/many/linked").stat().st_nlink == 2
