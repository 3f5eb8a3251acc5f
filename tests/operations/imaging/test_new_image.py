"""A new image (-di): what lands where in it, what it is, and that nothing has its name before all is good."""

from __future__ import annotations

import os
import re
import signal
import stat
import time
from pathlib import Path

import pytest

from tests.support import packed, trees
from tests.support.launch import start
from tests.support.marks import needs_commands, needs_root
from tests.support.packed import differences, inside, kind_of, loops_of, pack, problems_of
from tests.support.trees import Device, Dir, Entries, Fifo, File, HardLink, Socket, Sparse, Symlink

pytestmark = [pytest.mark.root, needs_commands(*packed.COMMANDS)]
KINDS = ("ext4", "xfs", "btrfs")
MIB = 1 << 20
T = 1_600_000_000_123_456_789
ALL_TYPES: Entries = {
    "file": File(b"content", mode=0o4750, mtime_ns=T, owner=(65534, 1)),
    "hard": HardLink("file"),
    "empty": File(mtime_ns=-T),
    "hole": Sparse(30 * MIB, ((5 * MIB, b"data"),), mtime_ns=T),
    "attributes": File(b"x", xattrs={"user.a": b"b", "trusted.c": b"d" * 300}, mtime_ns=T),
    "acl": File(b"x", acl="u::rw-,u:65534:r--,g::r--,m::rw-,o::---", mtime_ns=T),
    b"\xff \n\\": Dir({"fifo": Fifo(mtime_ns=T), "null": Device(1, 3, mtime_ns=T)}, mode=0o1777, mtime_ns=T),  # type: ignore[dict-item]
    "socket": Socket(),
    "dir": Dir({"link": Symlink("../file", mtime_ns=T), "long": Symlink("x" * 500, mtime_ns=T)}, mode=0, mtime_ns=T),
    "many": Dir({f"{'n' * 200}{number}": File(b"", mtime_ns=T) for number in range(300)}, mtime_ns=T),
}


@needs_root
@pytest.mark.parametrize("kind", KINDS)
def test_a_tree_of_every_type_is_in_a_new_image_at_its_own_path_and_comes_back_equal(on_tmpfs: Path, kind: str) -> None:
    source, image, out = on_tmpfs / "a" / "b", on_tmpfs / "i.img", on_tmpfs / "out"
    source.mkdir(parents=True)
    trees.build(source, ALL_TYPES)
    (source / "socket").unlink()
    (on_tmpfs / "a").chmod(0o2751)
    os.utime(on_tmpfs / "a", ns=(T, T))
    pack(source, "-di", image, "--image-fs", kind).check()
    assert kind_of(image) == kind
    assert problems_of(image) == ""
    assert differences(source, image) == ""
    assert differences(source, image, Path("/", *source.parts[1:-1], "b")) == ""
    parent = inside(image, f"stat -c '%a %Y' .{on_tmpfs / 'a'}").split()
    assert parent == ["2751", str(T // 10**9)]
    assert stat.S_IMODE(image.stat().st_mode) == 0o600
    assert image.stat().st_blocks * 512 < image.stat().st_size // 2, "it is sparse"
    pack("-si", image, "-d", out).check()
    assert packed.rsync_finds(source, out / source.relative_to("/")) == ""
    assert sorted(os.listdir(on_tmpfs)) == ["a", "i.img", "out"]
    assert loops_of(image) == []


@needs_root
def test_each_source_lands_at_its_absolute_path_whatever_slash_or_type_it_has(on_tmpfs: Path) -> None:
    trees.build(
        on_tmpfs,
        {
            "one": Dir({"f": File(b"1")}),
            "two": Dir({"f": File(b"2"), "g": Dir({"deep": File(b"3")})}),
            "file": HardLink("two/f"),
            "to_two": Symlink("two"),
        },
    )
    image = on_tmpfs / "i.img"
    pack("one/", on_tmpfs / "two", "./file", "to_two", "-di", "i.img", cwd=on_tmpfs).check()
    assert inside(image, f"cd .{on_tmpfs}; find . -mindepth 1 -printf '%P %y %n\\n' | sort").splitlines() == [
        "file f 2",
        "one d 2",
        "one/f f 1",
        "to_two l 1",
        "two d 3",
        "two/f f 2",
        "two/g d 2",
        "two/g/deep f 1",
    ]


@needs_root
def test_a_source_that_lies_in_another_one_is_copied_with_it(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": Dir({"in": Dir({"f": File(b"1")}), "g": File(b"2")})})
    done = pack(on_tmpfs / "s" / "in", on_tmpfs / "s", "-di", on_tmpfs / "i.img").check()
    assert re.search("s/in: lies in .*/s, which is copied with all", done.stderr + done.stdout)
    assert differences(on_tmpfs / "s", on_tmpfs / "i.img") == ""


@needs_root
def test_what_would_land_behind_a_symlink_of_another_source_is_refused(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": Dir({"link": Symlink("../other")}), "other": Dir({"f": File(b"1")})})
    done = pack(on_tmpfs / "s", f"{on_tmpfs}/s/link/", "-di", on_tmpfs / "i.img")
    assert done.returncode == 2
    assert "where there is a symlink of that name" in done.stderr
    assert sorted(os.listdir(on_tmpfs)) == ["other", "s"]


@needs_root
@pytest.mark.parametrize(
    ("sources", "there"),
    [
        (["one"], ["f"]),
        (["one/", "two/"], ["f", "g"]),
        (["one", "two"], ["one", "one/f", "two", "two/g"]),
        (["one/f"], ["f"]),
        (["to_one"], ["f"]),
        (["to_one", "two"], ["to_one", "two", "two/g"]),
    ],
)
def test_in_the_root_of_an_image_sources_land_as_in_a_directory(
    on_tmpfs: Path, sources: list[str], there: list[str]
) -> None:
    trees.build(on_tmpfs, {"one": Dir({"f": File(b"1")}), "two": Dir({"g": File(b"2")}), "to_one": Symlink("one")})
    pack(*sources, "-di", "i.img", "--image-root", cwd=on_tmpfs).check()
    found = inside(on_tmpfs / "i.img", "find . -mindepth 1 -name lost+found -prune -o -mindepth 1 -printf '%P\\n'")
    assert sorted(found.split()) == there


@needs_root
def test_an_image_in_its_own_source_is_left_out_and_so_are_mounts_of_the_run(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": Dir({"images": Dir({"f": File(b"1")}), "tmp": Dir({"g": File(b"2")})})})
    image = on_tmpfs / "s" / "images" / "i.img"
    done = pack(on_tmpfs / "s", "-di", image, env={"TMPDIR": str(on_tmpfs / "s" / "tmp")}).check()
    assert re.search(r"images/\.hpcp-mpi\.image\.i\.img\.part: a file that this run makes", done.stdout + done.stderr)
    found = inside(image, f"cd .{on_tmpfs}/s; find . -mindepth 1 -printf '%P\\n' | sort")
    assert found.split() == ["images", "images/f", "tmp", "tmp/g"]
    again = pack(on_tmpfs / "s", "-di", on_tmpfs / "s" / "images" / "j.img", "-e", "*.img").check()
    assert "0 failed" in again.stdout or again.returncode == 0
    assert problems_of(on_tmpfs / "s" / "images" / "j.img") == ""


@needs_root
def test_a_dry_run_says_what_would_be_made_and_makes_nothing(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": Dir({"f": File(b"x" * MIB)})})
    done = pack(on_tmpfs / "s", "-di", on_tmpfs / "i.img", "-n").check()
    assert re.search(
        r"i\.img would be made: ext4, [0-9,]+ bytes \([0-9.]+ MiB\), [0-9,]+ inodes, for 2 entries", done.stderr
    )
    assert os.listdir(on_tmpfs) == ["s"]


@needs_root
def test_what_is_excluded_is_neither_measured_nor_copied(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": Dir({"big": Dir({"f": File(b"x" * 40 * MIB)}), "small": File(b"1")})})
    pack(on_tmpfs / "s", "-di", on_tmpfs / "i.img", "-e", f"{on_tmpfs}/s/big").check()
    assert (on_tmpfs / "i.img").stat().st_size < 20 * MIB
    assert inside(on_tmpfs / "i.img", f"ls .{on_tmpfs}/s").split() == ["small"]


_ON_A_SMALL_ONE = 'mount -t tmpfs -o size=$1 none "$2"; shift 2; exec "$@"'


@needs_root
def test_an_image_that_its_own_file_system_has_no_room_for_is_refused_with_both_figures(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": Dir({"f": File(b"x" * 40 * MIB)}), "small": Dir()})
    small = on_tmpfs / "small"
    wrapper = ("unshare", "-m", "--propagation", "private", "sh", "-c", _ON_A_SMALL_ONE, "sh", "100m", small)
    done = pack(on_tmpfs / "s", "-di", small / "i.img", wrapper=wrapper)
    assert done.returncode == 1
    assert re.search(r"the image would take 4[0-9]\.[0-9] MiB, and its file system has 100\.0 MiB left", done.stderr)


_MEASURED_TOO_SMALL = """
from hpcp_mpi.cli.main import console
from hpcp_mpi.operations.imaging.pack import new_image
from hpcp_mpi.vocab.image_options import Need
new_image.needed = lambda *_: Need(files=1, directories=1, entries=2)
console()
"""


@needs_root
@pytest.mark.parametrize("kind", ["ext4", pytest.param("xfs", marks=pytest.mark.to_the_end)])
def test_an_image_that_turns_out_to_be_too_small_grows_while_it_is_filled(on_tmpfs: Path, kind: str) -> None:
    content = {f"f{number}": File(os.urandom(MIB)) for number in range(330 if kind == "xfs" else 50)}
    trees.build(on_tmpfs, {"s": Dir(content), "few": Dir({f"i{number}": File(b"") for number in range(3000)})})
    image = on_tmpfs / "i.img"
    done = pack(
        *(on_tmpfs / "s", on_tmpfs / "few", "-di", image, "--image-fs", kind),
        python_args=("-c", _MEASURED_TOO_SMALL),
    ).check()
    assert "it was made bigger" in done.stdout + done.stderr
    assert problems_of(image) == ""
    assert differences(on_tmpfs / "s", image) == ""
    assert differences(on_tmpfs / "few", image) == ""


def _wait_for_content(directory: Path, most: int = MIB) -> None:
    """Wait until some was copied into the stage of i.img."""
    part = directory / ".hpcp-mpi.image.i.img.part"
    until = time.monotonic() + 30
    while not part.exists() or part.stat().st_blocks * 512 < most:
        assert time.monotonic() < until, "nothing was copied"
        time.sleep(0.01)


@needs_root
def test_a_run_that_is_terminated_leaves_a_stage_with_which_the_same_command_goes_on(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": Dir({f"f{number}": File(os.urandom(MIB)) for number in range(16)})})
    command = [on_tmpfs / "s", "-di", on_tmpfs / "i.img"]
    with start([*command, "-L", "4M"], flavour="plain") as running:
        _wait_for_content(on_tmpfs)
        running.signal(signal.SIGTERM)
        stopped = running.finish()
    assert stopped.returncode == 75, str(stopped)
    assert sorted(os.listdir(on_tmpfs)) == [".hpcp-mpi.image.i.img.kept", "s"]
    assert problems_of(on_tmpfs / ".hpcp-mpi.image.i.img.kept") == ""
    assert "the same command goes on with it" in stopped.stdout + stopped.stderr
    done = pack(*command).check()
    assert "going on with" in done.stderr
    assert os.listdir(on_tmpfs) in (["s", "i.img"], ["i.img", "s"])
    assert differences(on_tmpfs / "s", on_tmpfs / "i.img") == ""


@needs_root
def test_a_run_that_is_interrupted_or_killed_leaves_no_image(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": Dir({f"f{number}": File(os.urandom(MIB)) for number in range(16)})})
    command = [on_tmpfs / "s", "-di", on_tmpfs / "i.img"]
    for number, code, left in ((signal.SIGINT, 130, ["s"]), (signal.SIGKILL, -9, [".hpcp-mpi.image.i.img.part", "s"])):
        with start([*command, "-L", "4M"], flavour="plain") as running:
            _wait_for_content(on_tmpfs)
            running.signal(number)
            done = running.finish()
        assert done.returncode == code, str(done)
        assert sorted(os.listdir(on_tmpfs)) == left
    pack(*command).check()
    assert sorted(os.listdir(on_tmpfs)) == ["i.img", "s"]
    assert differences(on_tmpfs / "s", on_tmpfs / "i.img") == ""


@needs_root
def test_two_runs_do_not_make_one_image(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": Dir({f"f{number}": File(os.urandom(MIB)) for number in range(20)})})
    command = [on_tmpfs / "s", "-di", on_tmpfs / "i.img"]
    with start([*command, "-L", "1M"], flavour="plain") as running:
        _wait_for_content(on_tmpfs)
        second = pack(*command)
        assert second.returncode == 1, str(second)
        assert "another run is making" in second.stderr
        running.signal(signal.SIGINT)
        running.finish()
    pack(*command).check()
    assert differences(on_tmpfs / "s", on_tmpfs / "i.img") == ""


_CORRUPTED = """
from hpcp_mpi.cli.main import console
from hpcp_mpi.operations.imaging.pack import volume
trimmed = volume.trimmed
def also_changed(each):
    with open(each.mount + b"/f", "r+b") as file:
        file.write(b"y")
    trimmed(each)
volume.trimmed = also_changed
console()
"""


@needs_root
def test_with_verify_the_unmounted_image_is_compared_whole(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": Dir({"f": File(b"x" * 200_000), "g": File(b"z")})})
    done = pack(on_tmpfs / "s", "-di", on_tmpfs / "i.img", "--image-root", "--verify").check()
    assert "verified" in done.stdout
    command = (on_tmpfs / "s", "-di", on_tmpfs / "j.img", "--image-root", "--verify")
    done = pack(*command, python_args=("-c", _CORRUPTED))
    assert done.returncode == 23, str(done)
    assert re.search(r"j\.img:/f: differs from its source", done.stderr + done.stdout)
    assert (on_tmpfs / "j.img").exists(), "with failures it is there, and says so"


@needs_root
def test_entries_that_fail_are_lacking_in_an_image_that_is_made_all_the_same(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": Dir({"f": File(b"x", xattrs={"user.big": b"v" * 60_000}), "g": File(b"z")})})
    done = pack(on_tmpfs / "s", "-di", on_tmpfs / "i.img", "--image-fs", "ext4")
    assert done.returncode in (0, 23), str(done)
    assert problems_of(on_tmpfs / "i.img") == ""


@needs_root
def test_ncd_makes_no_new_image_and_tfs_says_of_which_type_it_has_to_be(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": Dir({"f": File(b"1")})})
    image = on_tmpfs / "i.img"
    for options, code, says in (
        (["-ncd"], 1, "does not exist"),
        (["-tfs", "nfs"], 2, "the image would be ext4 or xfs, and not nfs"),
        (["-tfs", "btrfs"], 0, ""),
        (["-ncd", "-tfs", "btrfs"], 0, ""),
        (["-tfs", "xfs"], 1, "is on btrfs, not on xfs"),
    ):
        done = pack(on_tmpfs / "s", "-di", image, *options)
        assert (done.returncode, says in done.stderr) == (code, True), str(done)
    assert kind_of(image) == "btrfs"


@needs_root
@pytest.mark.parametrize(
    ("name", "more", "named"),
    [
        ("i.img", ("--partition", "root"), "--partition"),
        ("i.img", ("--partition", "root", "-dis", "64M"), "--partition"),
        ("i.sqsh", ("--partition", "root"), "--partition"),
        ("i.img", ("-rme", "-rf"), "-rme"),
        ("i.img", ("-rme", "-rf", "-dis", "64M"), "-rme"),
    ],
)
def test_what_means_nothing_for_an_image_that_is_not_there_is_refused(
    on_tmpfs: Path, name: str, more: tuple[str, ...], named: str
) -> None:
    trees.build(on_tmpfs, {"s": Dir({"f": File(b"1")})})
    done = pack(on_tmpfs / "s", "-di", on_tmpfs / name, *more)
    assert done.returncode == 2, str(done)
    assert f"hpcp-mpi: {named} " in done.stderr, str(done)
    assert [each.name for each in on_tmpfs.iterdir()] == ["s"]
