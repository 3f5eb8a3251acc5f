"""Block devices, which loop devices are here: facts, and what keeps us from having one alone."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcp_mpi.host.block import devices, loops
from hpcp_mpi.vocab.errors import FatalError

MIB = 1 << 20
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loop devices need root")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "disk.img", os.O_RDWR | os.O_CREAT, 0o600)
    os.truncate(fd, 16 * MIB)
    yield fd
    os.close(fd)


def refusal(path: bytes) -> str:
    with pytest.raises(FatalError) as refused:
        devices.opened_exclusively(path)
    assert refused.value.remedy
    return refused.value.message


def test_a_device_is_known_and_held(file: int) -> None:
    with loops.attach(file, writable=True, sector=4096) as loop:
        fd = devices.opened_exclusively(loop.path)
        try:
            found = devices.device_of(fd, loop.path)
            assert (found.size, found.sector, found.whole, found.read_only) == (16 * MIB, 4096, True, False)
            assert found.disk == found.number
            assert "disk.img" in found.model
            with pytest.raises(OSError, match="busy"):
                os.open(loop.path, os.O_RDWR | os.O_EXCL)
            assert subprocess.run(["mkswap", "-q", loop.path], capture_output=True).returncode
        finally:
            os.close(fd)


def test_a_read_only_device_is_refused(file: int) -> None:
    with loops.attach(file) as loop:
        assert "cannot have" in refusal(loop.path) or "read-only" in refusal(loop.path)


def test_a_device_below_another_is_refused(file: int) -> None:
    """The kernel lets a loop device lie over one that is opened exclusively, and the other way round."""
    with loops.attach(file, writable=True) as loop, loops.attach(loop.fd, offset=MIB) as upper:
        message = refusal(loop.path)
        assert upper.path.decode() in message


def test_two_loop_devices_of_one_file_are_refused(file: int) -> None:
    with loops.attach(file, writable=True) as loop, loops.attach(file) as other:
        assert other.path.decode() in refusal(loop.path)


def test_a_mounted_device_is_refused_and_the_mount_is_named(file: int, tmp_path: Path) -> None:
    with loops.attach(file, writable=True) as loop:
        subprocess.run(["mkfs.ext4", "-q", loop.path], check=True)
        place = tmp_path / "place"
        place.mkdir()
        script = f"mount -t ext4 {os.fsdecode(loop.path)} {place} && echo mounted && read line; umount {place}"
        holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with holder:
            assert holder.stdin is not None
            assert holder.stdout is not None
            assert holder.stdout.readline() == "mounted\n"
            message = refusal(loop.path)
            holder.stdin.close()
    assert "busy" in message
    assert f"is mounted on {place} (as process {holder.pid} sees it)" in message


def test_what_is_no_device_is_refused(tmp_path: Path) -> None:
    assert "cannot have" in refusal(os.fsencode(tmp_path / "missing"))
