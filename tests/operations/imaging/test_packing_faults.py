"""Copies into images that end early or go wrong: full disks, failing checks, signals, missing programs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support import packed, trees
from tests.support.launch import start
from tests.support.marks import needs_commands, needs_root
from tests.support.packed import differences, loops_of, pack, problems_of
from tests.support.trees import Dir, File

pytestmark = [pytest.mark.root, needs_commands(*packed.COMMANDS)]
MIB = 1 << 20
_ON_A_TMPFS = ("unshare", "-m", "--propagation", "private", "sh", "-c")
_MOUNTED = 'mount -t tmpfs -o size=$1 none "$2"; shift 2; "$@"; code=$?; ls -A "$0"; exit $code'


def _files(count: int) -> Dir:
    return Dir({f"f{number}": File(os.urandom(MIB)) for number in range(count)})


_FILLS_THE_DISK = """
import os
from hpcp_mpi.cli.main import console
from hpcp_mpi.operations.imaging.pack import filling
copy_between = filling.copy_between
def fill_first(run, sources, places, destination, options):
    beside = os.path.dirname(run.images.image) + b"/filler"
    with open(beside, "wb") as file:
        room = os.fstatvfs(file.fileno())
        file.write(b"x" * (room.f_bavail * room.f_frsize - (63 << 20)))
    return copy_between(run, sources, places, destination, options)
filling.copy_between = fill_first
console()
"""


@needs_root
def test_a_copy_ends_before_the_file_system_of_the_image_is_full(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": _files(16), "small": Dir()})
    small = on_tmpfs / "small"
    wrapper = (*_ON_A_TMPFS, _MOUNTED, small, "150m", small)
    done = pack(
        *(on_tmpfs / "s", "-di", small / "i.img", "-L", "4M"),
        python_args=("-c", _FILLS_THE_DISK),
        wrapper=wrapper,
    )
    assert done.returncode == 1, str(done)
    assert "has less than 64 MiB left: an image on a full one would be damaged" in done.stderr
    assert done.stdout.split() == ["filler"], "no stage is left"
    assert done.seconds < 20


_FAILING_CHECK = """
from hpcp_mpi.cli.main import console
from hpcp_mpi.host.block import making
calls = []
def check(device, type, stop=None):
    calls.append(device)
    return "bitmaps differ" if len(calls) > {good} else ""
making.check = check
console()
"""


@needs_root
def test_an_image_that_does_not_pass_its_check_gets_no_name(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": _files(1)})
    command = (on_tmpfs / "s", "-di", on_tmpfs / "i.img")
    done = pack(*command, python_args=("-c", _FAILING_CHECK.format(good=0)))
    assert done.returncode == 1
    assert "was not made: its check found errors: bitmaps differ" in done.stderr
    assert os.listdir(on_tmpfs) == ["s"]
    pack(*command, "--no-check", python_args=("-c", _FAILING_CHECK.format(good=0))).check()
    updated = pack(*command, python_args=("-c", _FAILING_CHECK.format(good=1)))
    assert updated.returncode == 1
    assert "was written to, and its check found errors" in updated.stderr


@needs_root
def test_an_update_that_is_terminated_leaves_a_good_image(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": Dir({"f": File(b"1")})})
    image = on_tmpfs / "i.img"
    pack(on_tmpfs / "s", "-di", image).check()
    trees.build(on_tmpfs / "s", {"more": _files(16)})
    before = image.stat().st_blocks
    with start([on_tmpfs / "s", "-di", image, "-L", "4M"], flavour="plain") as running:
        until = time.monotonic() + 40
        while image.stat().st_blocks < before + 2 * MIB // 512:
            assert time.monotonic() < until, running.output()
            time.sleep(0.01)
        running.signal(signal.SIGTERM)
        stopped = running.finish()
    assert stopped.returncode == 75, str(stopped)
    assert problems_of(image) == ""
    assert loops_of(image) == []
    pack(on_tmpfs / "s", "-di", image).check()
    assert differences(on_tmpfs / "s", image) == ""


@needs_root
def test_a_second_signal_leaves_nothing_of_a_new_image(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": _files(16)})
    part = on_tmpfs / ".hpcp-mpi.image.i.img.part"
    with start([on_tmpfs / "s", "-di", on_tmpfs / "i.img", "-L", "4M"], flavour="plain") as running:
        until = time.monotonic() + 40
        while not part.exists() or part.stat().st_blocks < MIB // 512:
            assert time.monotonic() < until, running.output()
            time.sleep(0.01)
        running.signal(signal.SIGTERM)
        running.signal(signal.SIGTERM)
        stopped = running.finish()
    assert stopped.returncode in (75, 130), str(stopped)
    left = sorted(os.listdir(on_tmpfs))
    # Both signals may have been taken for one.
    assert left in (["s"], [".hpcp-mpi.image.i.img.kept", "s"]), left


@needs_root
def test_a_kept_stage_of_another_kind_is_made_anew(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": _files(2)})
    kept = on_tmpfs / ".hpcp-mpi.image.i.img.kept"
    for damage in ("mkfs.xfs", "damage"):
        pack(on_tmpfs / "s", "-di", kept).check()
        if damage == "damage":
            subprocess.run(["debugfs", "-w", "-R", "clri <2>", kept], check=True, capture_output=True)
        options = ["--image-fs", "btrfs"] if damage == "mkfs.xfs" else []
        done = pack(on_tmpfs / "s", "-di", on_tmpfs / "i.img", *options).check()
        assert "going on with" not in done.stderr
        assert differences(on_tmpfs / "s", on_tmpfs / "i.img") == ""
        assert sorted(os.listdir(on_tmpfs)) == ["i.img", "s"]
        (on_tmpfs / "i.img").unlink()


@needs_root
def test_a_missing_program_is_named_with_its_package_before_anything_starts(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": _files(1)})
    script = "from hpcp_mpi.cli.main import console\nfrom hpcp_mpi.host.block import tools\n"
    hidden = script + "tools.is_there = lambda program: program != 'e2fsck'\nconsole()"
    done = pack(on_tmpfs / "s", "-di", on_tmpfs / "i.img", python_args=("-c", hidden))
    assert done.returncode == 1
    assert re.search(r"missing program: e2fsck \(checks ext4\)\n  Install on Debian: e2fsprogs", done.stderr)
    assert os.listdir(on_tmpfs) == ["s"]


@needs_root
def test_who_is_not_root_is_refused_in_words(on_disk: Path) -> None:
    trees.build(on_disk, {"s": _files(1)})
    on_disk.chmod(0o777)
    done = pack(on_disk / "s", "-di", on_disk / "i.img", user="nobody")
    assert done.returncode == 1, str(done)
    assert "Images need root" in done.stderr
    assert os.listdir(on_disk) == ["s"]


@needs_root
def test_with_several_ranks_one_of_them_makes_the_image(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": _files(2)})
    done = pack(on_tmpfs / "s", "-di", on_tmpfs / "i.img", flavour="mpich", n=2).check()
    assert "-n 1 is enough" in done.stderr
    assert differences(on_tmpfs / "s", on_tmpfs / "i.img") == ""
