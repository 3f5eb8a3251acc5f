"""Loop devices that the kernel detaches; judged by /sys/block, losetup and what is read through them."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpcp_mpi.host.block import loops
from hpcp_mpi.host.block.loops import attach, attached_to, resized
from hpcp_mpi.vocab.errors import FatalError
from tests.support.marks import needs_root

pytestmark = pytest.mark.root
MIB = 1 << 20


@pytest.fixture
def image(on_tmpfs: Path) -> Iterator[int]:
    """A descriptor of a file of 4 MiB, of which each MiB has other bytes."""
    path = on_tmpfs / "x.img"
    path.write_bytes(b"".join(bytes([at]) * MIB for at in range(1, 5)))
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


def told(loop: bytes, what: str) -> str:
    """What /sys/block says of a loop device."""
    return Path(f"/sys/block/{os.path.basename(loop).decode()}/{what}").read_text().strip()


def is_attached(loop: bytes) -> bool:
    return Path(f"/sys/block/{os.path.basename(loop).decode()}/loop/backing_file").exists()


def eventually(true: Callable[[], bool]) -> bool:
    until = time.monotonic() + 20
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


@needs_root
def test_a_device_shows_the_file_and_is_gone_when_it_is_closed(image: int) -> None:
    with attach(image, name=b"x.img") as loop:
        assert (told(loop.path, "ro"), told(loop.path, "loop/autoclear"), told(loop.path, "size")) == ("1", "1", "8192")
        assert os.pread(loop.fd, 10, 2 * MIB) == b"\3" * 10
        writing = os.open(loop.path, os.O_RDWR)
        with pytest.raises(PermissionError):
            os.pwrite(writing, b"x" * 4096, 0)
        os.close(writing)
        path = loop.path
    assert eventually(lambda: not is_attached(path))
    loop.close()  # twice is as good as once


@needs_root
def test_a_part_of_a_file_is_shown_and_nothing_beside_it_is_written(image: int) -> None:
    with attach(image, writable=True, offset=MIB, size=2 * MIB) as loop:
        assert told(loop.path, "size") == "4096"
        assert told(loop.path, "loop/offset") == str(MIB)
        assert os.pread(loop.fd, 4, 0) == b"\2" * 4
        assert os.pwrite(loop.fd, b"x" * 4 * MIB, 0) == 2 * MIB
        os.fsync(loop.fd)
    content = os.pread(image, 4 * MIB, 0)
    assert content == b"\1" * MIB + b"x" * 2 * MIB + b"\4" * MIB


@needs_root
def test_sectors_can_have_4096_bytes(image: int) -> None:
    with attach(image, sector=4096) as loop:
        assert told(loop.path, "queue/logical_block_size") == "4096"
        printed = subprocess.run(["blockdev", "--getss", loop.path], capture_output=True, text=True, check=True).stdout
        assert printed == "4096\n"
    with attach(image) as loop:
        assert told(loop.path, "queue/logical_block_size") == "512"


@needs_root
def test_direct_io_is_a_wish(image: int, on_disk: Path) -> None:
    path = on_disk / "x.img"
    path.write_bytes(bytes(MIB))
    fd = os.open(path, os.O_RDONLY)
    for each in (fd, image):
        with attach(each, direct=True) as loop:
            assert len(os.pread(loop.fd, 4096, 0)) == 4096
    os.close(fd)


@needs_root
def test_a_device_grows_with_its_file(image: int) -> None:
    with attach(image, writable=True) as loop:
        os.ftruncate(image, 6 * MIB)
        assert told(loop.path, "size") == "8192"
        resized(loop)
        assert told(loop.path, "size") == "12288"


@needs_root
def test_the_devices_over_a_file_are_found_by_its_inode_whatever_its_name_is(image: int, on_tmpfs: Path) -> None:
    other = on_tmpfs / "other.img"
    other.write_bytes(bytes(MIB))
    status = os.fstat(image)
    assert attached_to(status) == []
    with attach(image) as one, attach(image, offset=MIB) as two:
        os.rename(on_tmpfs / "x.img", on_tmpfs / "moved")
        assert sorted(attached_to(status)) == sorted([one.path, two.path])
        assert attached_to(os.stat(other)) == []
        os.unlink(on_tmpfs / "moved")
        assert sorted(attached_to(status)) == sorted([one.path, two.path])
        # A device over a device is known by the number of that.
        with attach(one.fd) as above:
            assert attached_to(os.stat(one.path)) == [above.path]
    assert eventually(lambda: attached_to(status) == [])


@needs_root
def test_attachers_at_the_same_time_get_devices_of_their_own(image: int) -> None:
    found: list[loops.Loop | FatalError] = []

    def take() -> None:
        for _ in range(4):
            try:
                found.append(attach(image))
            except FatalError as error:
                found.append(error)

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    devices = [each for each in found if isinstance(each, loops.Loop)]
    try:
        assert [each for each in found if isinstance(each, FatalError)] == []
        assert len({loop.path for loop in devices}) == len(devices) == 24
        assert all(is_attached(loop.path) for loop in devices)
    finally:
        for loop in devices:
            loop.close()


@needs_root
def test_a_number_that_somebody_else_takes_first_is_no_error(image: int, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = [OSError(errno.EBUSY, "Device or resource busy")] * 3
    configure = loops._configure

    def late(device: int, fd: int, sector: int, info: bytes) -> None:
        if refusals:
            raise refusals.pop()
        configure(device, fd, sector, info)

    monkeypatch.setattr(loops, "_configure", late)
    before = len(os.listdir("/proc/self/fd"))
    with attach(image) as loop:
        assert is_attached(loop.path)
    assert not refusals
    assert len(os.listdir("/proc/self/fd")) == before


@needs_root
def test_the_device_of_a_killed_process_is_detached(on_tmpfs: Path) -> None:
    (on_tmpfs / "x.img").write_bytes(bytes(MIB))
    code = (
        "import os, sys, time\nfrom hpcp_mpi.host.block.loops import attach\n"
        "loop = attach(os.open(sys.argv[1], os.O_RDONLY))\nprint(loop.path.decode(), flush=True)\ntime.sleep(100)"
    )
    command = [sys.executable, "-c", code, str(on_tmpfs / "x.img")]
    repository = Path(__file__).resolve().parents[3]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=repository) as process:
        assert process.stdout is not None
        path = os.fsencode(process.stdout.readline().strip())
        assert is_attached(path)
        process.send_signal(signal.SIGKILL)
    status = os.stat(on_tmpfs / "x.img")
    assert eventually(lambda: attached_to(status) == [])


@needs_root
def test_what_cannot_be_attached_is_said_with_its_name(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(FatalError, match=r"cannot attach a loop device to my\.img: "):
        attach(fd, name=b"my.img")
    os.close(fd)
    assert len(os.listdir("/proc/self/fd")) == before


@needs_root
def test_a_missing_control_device_is_said_with_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "_CONTROL", "/dev/no-such-loop-control")
    with tempfile.TemporaryFile() as file, pytest.raises(FatalError) as refused:
        attach(file.fileno(), name=b"x.img")
    assert "modprobe loop" in refused.value.remedy
