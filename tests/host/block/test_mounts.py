"""Mounts of our own: seen by nobody else, safe for what an image holds, gone with the process that made them."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpcp_mpi.host.block.mounts import PREFIX, can_mount
from tests.support import images
from tests.support.marks import needs_root

pytestmark = pytest.mark.root
_REPOSITORY = Path(__file__).resolve().parents[3]
_BEGIN = """
import errno, os, sys, time
from hpcp_mpi.host.block import mounts
from hpcp_mpi.host.block.loops import attach
from hpcp_mpi.host.block.mounts import MountRefused, MountRoom, private_namespace
from hpcp_mpi.vocab.errors import FatalError
def told(place):
    lines = [line.split() for line in open("/proc/self/mountinfo")]
    return [line for line in lines if line[4] == os.fsdecode(place)]
private_namespace()
image = os.open(sys.argv[1], os.O_RDWR)
"""


def command(code: str, *arguments: Path) -> list[str]:
    return [sys.executable, "-c", _BEGIN + code, *map(str, arguments)]


def run(code: str, *arguments: Path, temporary: Path, runs: int = 0) -> str:
    """Run code in a process of its own, which has a private namespace and an open image."""
    done = subprocess.run(
        command(code, *arguments),
        capture_output=True,
        text=True,
        cwd=_REPOSITORY,
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def running(code: str, *arguments: Path, temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """Run code that prints a line when it is ready, and waits."""
    process = subprocess.Popen(
        command(code, *arguments), stdout=-1, text=True, cwd=_REPOSITORY, env=os.environ | {"TMPDIR": str(temporary)}
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hpcp-mpi-test-", dir="/dev/shm") as place:
        yield images.made(Path(place) / "x.img", "ext4", 'echo x >"$1/x"')


_MOUNTED = """
room = MountRoom(); loop = attach(image); place = room.mount(loop.path, "ext4")
print(os.fsdecode(place), flush=True)
"""


@needs_root
def test_a_mount_has_safe_flags_and_is_gone_with_its_room(image: Path, on_tmpfs: Path) -> None:
    said = run(
        """
with MountRoom() as room, attach(image) as loop:
    place = room.mount(loop.path, "ext4", ["errors=continue"])
    print(os.listdir(place), *told(place)[0][5].split(","), *told(room.path)[0][5].split(","))
    assert os.stat(room.path).st_mode & 0o777 == 0o700
    assert place == room.path + b"/00" and room.new_place() == room.path + b"/01"
print(told(place), os.path.exists(room.path))
""",
        image,
        temporary=on_tmpfs,
    )
    first, last = said.splitlines()
    assert "'x'" in first
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(first.split())
    assert first.split().count("noexec") == 2
    assert last == "[] False"
    assert list(on_tmpfs.iterdir()) == []


@needs_root
def test_nobody_outside_sees_a_mount_and_the_kernel_unmounts_that_of_a_killed_process(
    image: Path, on_tmpfs: Path
) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    with running(_MOUNTED + "time.sleep(100)", image, temporary=on_tmpfs) as process:
        assert process.stdout is not None
        place = Path(process.stdout.readline().strip())
        assert (Path(f"/proc/{process.pid}/root{place}") / "x").exists()
        assert PREFIX not in Path("/proc/self/mountinfo").read_text().replace(before, "")
        assert list(place.parent.iterdir()) == []  # an empty directory, from here
        process.send_signal(signal.SIGKILL)
        process.wait()
    until = time.monotonic() + 20
    while images.loops_on(image.parent) and time.monotonic() < until:
        time.sleep(0.02)
    assert images.loops_on(image.parent) == []
    assert [path.name for path in on_tmpfs.iterdir()] == [place.parent.name]
    run("with MountRoom(): pass", image, temporary=on_tmpfs)  # removes what the killed one has left
    assert list(on_tmpfs.iterdir()) == []


@needs_root
def test_the_directory_of_a_run_that_is_going_on_is_not_touched(image: Path, on_tmpfs: Path) -> None:
    with running(_MOUNTED + "time.sleep(100)", image, temporary=on_tmpfs) as process:
        assert process.stdout is not None
        place = Path(process.stdout.readline().strip())
        run("with MountRoom() as room: assert room.path != sys.argv[2].encode()", image, place, temporary=on_tmpfs)
        assert (Path(f"/proc/{process.pid}/root{place}") / "x").exists()
        assert [path.name for path in on_tmpfs.iterdir()] == [place.parent.name]


@needs_root
def test_only_empty_directories_of_ours_are_taken_for_leftovers(image: Path, on_tmpfs: Path) -> None:
    full, link, other = (on_tmpfs / f"{PREFIX}{name}" for name in ("full", "link", "other"))
    (full / "x").mkdir(parents=True)
    (on_tmpfs / "elsewhere").mkdir()
    link.symlink_to("elsewhere")
    other.mkdir()
    os.chown(other, 65534, 65534)
    locked = on_tmpfs / f"{PREFIX}locked"
    locked.mkdir()
    fd = os.open(locked, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    run("with MountRoom(): pass", image, temporary=on_tmpfs)
    os.close(fd)
    assert {path.name for path in on_tmpfs.iterdir()} == {full.name, link.name, other.name, locked.name, "elsewhere"}


@needs_root
def test_a_run_may_mount_more_than_a_hundred_times_but_not_at_once(image: Path, on_tmpfs: Path) -> None:
    code = """
with MountRoom() as room, attach(image) as loop:
    kept = room.mount(loop.path, "ext4")
    for _ in range(120):
        place = room.mount(loop.path, "ext4")
        assert place != kept and os.listdir(place)
        room.unmount(place)
    assert len(os.listdir(room.path)) == 2
    try:
        for _ in range(120):
            room.mount(loop.path, "ext4")
    except FatalError as error:
        print(error.message)
"""
    done = subprocess.run(command(code, image), capture_output=True, text=True, env={"TMPDIR": str(on_tmpfs)})
    assert done.stdout == "more than 100 file systems at once in one run\n", done.stderr


@needs_root
def test_what_is_not_mounted_any_more_is_unmounted_without_an_error(image: Path, on_tmpfs: Path) -> None:
    """The error that kept it from being mounted again is the one to be said."""
    code = """
with MountRoom() as room, attach(image) as loop:
    place = room.mount(loop.path, "ext4")
    room.unmount(place)
    for worthless in (True, False):
        room.unmount(place, worthless)
    print("good", os.listdir(place))
"""
    done = subprocess.run(command(code, image), capture_output=True, text=True, env={"TMPDIR": str(on_tmpfs)})
    assert done.stdout == "good []\n", done.stderr


@needs_root
def test_a_mount_that_is_in_use_is_named_and_one_that_is_let_go_in_time_is_not(image: Path, on_tmpfs: Path) -> None:
    said = run(
        """
import threading
room = MountRoom(); loop = attach(image); place = room.mount(loop.path, "ext4")
fd = os.open(place + b"/x", os.O_RDONLY)
timer = threading.Timer(0.3, os.close, [fd]); timer.start()
room.unmount(place); print("unmounted", told(place))
mounts._BUSY = 0.2
place = room.mount(loop.path, "ext4"); fd = os.open(place + b"/x", os.O_RDONLY)
try:
    room.unmount(place)
except FatalError as error:
    print(error.message)
os.close(fd)
os.system("umount " + os.fsdecode(place)); room.close()
""",
        image,
        temporary=on_tmpfs,
    )
    first, second = said.splitlines()
    assert first == "unmounted []"
    assert second.startswith("cannot unmount ")
    assert second.endswith("/00: Device or resource busy")


@needs_root
def test_what_is_written_is_stored_when_it_is_unmounted(on_tmpfs: Path) -> None:
    image = images.empty(on_tmpfs / "x.img", "ext4")
    run(
        """
with MountRoom() as room, attach(image, writable=True) as loop:
    place = room.mount(loop.path, "ext4", read_only=False)
    flags = told(place)[0][5]
    assert "rw" in flags and "noatime" in flags and "nodev" in flags, flags
    with open(place + b"/x", "w") as file:
        file.write("written")
    room.unmount(place)
""",
        image,
        temporary=on_tmpfs,
    )
    printed = subprocess.run(["debugfs", "-R", "cat /x", image], capture_output=True, text=True).stdout
    assert printed == "written"


@needs_root
def test_a_refused_mount_has_the_errno_and_words(image: Path, on_tmpfs: Path) -> None:
    unclean = images.unclean(on_tmpfs / "unclean.img", "ext4")
    said = run(
        """
unclean = os.open(sys.argv[2], os.O_RDONLY)
with MountRoom() as room, attach(image) as loop, attach(unclean) as waiting:
    for device, kind in ((waiting, "ext4"), (loop, "xfs"), (loop, "nosuch")):
        try:
            room.mount(device.path, kind)
        except MountRefused as refused:
            print(errno.errorcode[refused.number], refused.message, refused.remedy)
""",
        image,
        unclean,
        temporary=on_tmpfs,
    )
    journal, other, unknown = said.splitlines()
    assert journal.startswith("EROFS cannot mount /dev/loop")
    assert other.startswith("EINVAL ")
    assert "damaged" in other
    assert unknown.startswith("ENODEV ")
    assert "modprobe nosuch" in unknown


@needs_root
def test_a_directory_that_others_could_exchange_holds_no_mounts(image: Path, on_tmpfs: Path) -> None:
    shared = on_tmpfs / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    said = run("with MountRoom() as room: print(os.fsdecode(room.path))", image, temporary=shared)
    assert said.startswith(f"/run/{PREFIX}")
    shared.chmod(0o1777)
    said = run("with MountRoom() as room: print(os.fsdecode(room.path))", image, temporary=shared)
    assert said.startswith(f"{shared}/{PREFIX}")


def test_a_kernel_knows_what_it_lists() -> None:
    listed = [line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()]
    assert can_mount(listed[0])
    assert not can_mount("nosuch")
