"""What is no image, or a damaged one, is refused in a sentence with a remedy, and nothing is made."""

from __future__ import annotations

import gzip
import lzma
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.support import disks, images
from tests.support.launch import run
from tests.support.marks import needs_commands, needs_root
from tests.support.tables import Entry, write_gpt

pytestmark = [pytest.mark.root, needs_commands("mksquashfs", *disks.COMMANDS)]
MIB = 1 << 20
Make = Callable[[Path, Path], object]  # with the path of what is made, and that of an ext4


def _file(size: int, content: bytes = b"", at: int = 0) -> Make:
    def make(path: Path, _: Path) -> None:
        with open(path, "wb") as file:
            file.truncate(size)
            file.seek(at)
            file.write(content)

    return make


def _command(*words: str, size: int = 4 * MIB, given: bytes = b"") -> Make:
    def make(path: Path, _: Path) -> None:
        _file(size)(path, path)
        subprocess.run([*words, path], check=True, capture_output=True, input=given)

    return make


def _cut(kind: str) -> Make:
    def make(path: Path, _: Path) -> None:
        if kind == "squashfs":
            images.made(path, kind, 'head -c 100000 /dev/urandom >"$1/x"')
        else:
            images.empty(path, kind)
        os.truncate(path, path.stat().st_size - 8192)

    return make


def _gpt(*entries: Entry, size: int = 8 * MIB, cut: int = 0) -> Make:
    def make(path: Path, _: Path) -> None:
        _file(size)(path, path)
        write_gpt(path, list(entries))
        os.truncate(path, size - cut)

    return make


def _two(path: Path, ext4: Path) -> None:
    shutil.copy(ext4, path)
    with open(images.empty(path.with_name("xfs"), "xfs"), "rb") as other, open(path, "r+b") as file:
        file.write(other.read(512))


def _only_swap(path: Path, ext4: Path) -> None:
    _gpt(Entry(1, 2048, 4096, name="nothing"), Entry(2, 8192, 4096))(path, ext4)
    with tempfile.NamedTemporaryFile() as swap:
        swap.truncate(2 * MIB)
        subprocess.run(["mkswap", "-q", swap.name], check=True, capture_output=True)
        with open(path, "r+b") as file:
            file.seek(4 * MIB)
            file.write(swap.read())


def _several_disks(path: Path, _: Path) -> None:
    other = path.with_name("other")
    for each in (path, other):
        _file(120 * MIB)(each, each)
    subprocess.run(["mkfs.btrfs", "-q", path, other], check=True, capture_output=True)


_LUKS = ("cryptsetup", "luksFormat", "--batch-mode", "--type", "luks1", "--pbkdf-force-iterations", "1000")
BAD: Mapping[str, tuple[Make, str]] = {
    "empty": (_file(0), "is empty"),
    "a few bytes": (_file(11, b"hello world"), "has 11 bytes"),
    "zeros": (_file(MIB), "holds no file system that is known"),
    "a text": (_file(20_000, b"some lines\n" * 1000), "holds no file system that is known"),
    "a directory": (lambda path, _: path.mkdir(), "is a directory.*\n.*without -si"),
    "a pipe": (lambda path, _: os.mkfifo(path), "neither a file nor a block device"),
    "missing": (lambda path, _: None, "No such file or directory"),
    "a loose link": (lambda path, _: path.symlink_to("nowhere"), "No such file or directory"),
    "a swap": (_command("mkswap"), "holds swap"),
    "encrypted": (_command(*_LUKS, given=b"password"), r"holds something encrypted \(LUKS\)"),
    "two signatures": (_two, "signatures of several file systems"),
    "a qcow2": (_file(MIB, b"QFI\xfb"), "qcow2.*\n.*qemu-img convert -O raw"),
    "a VMDK": (_file(MIB, b"KDMV"), "VMDK.*\n.*qemu-img convert -O raw"),
    "gzip": (lambda path, _: path.write_bytes(gzip.compress(bytes(MIB))), "gzip.*\n.*gzip -d"),
    "xz": (lambda path, _: path.write_bytes(lzma.compress(bytes(MIB))), "xz.*\n.*xz -d"),
    "zstd": (_file(MIB, b"\x28\xb5\x2f\xfd"), "zstd.*\n.*zstd -d"),
    "ext4 cut short": (_cut("ext4"), "cut short: its ext4 ends at byte 67,108,864, and there are 67,100,672 bytes"),
    "xfs cut short": (_cut("xfs"), "cut short: its xfs ends"),
    "btrfs cut short": (_cut("btrfs"), "cut short: its btrfs ends"),
    "squashfs cut short": (_cut("squashfs"), "unsquashfs could not unpack"),
    "a table cut short": (
        _gpt(Entry(1, 2048, 2048), Entry(3, 8192, 4096), cut=3 * MIB),
        "cut short: partition 3 ends at byte 6,291,456, and there are 5,242,880",
    ),
    "overlapping": (_gpt(Entry(1, 2048, 4096), Entry(2, 4096, 2048)), "partitions 1 and 2 lie on each other"),
    "past the end": (_gpt(Entry(1, 2048, 1 << 40)), "cut short: partition 1 ends at byte"),
    "no partition": (_gpt(), "holds files to copy: it has none"),
    "only swap": (_only_swap, "partition 1 .nothing. is left out: .*; partition 2 is left out: it holds swap"),
    "one of two disks": (_several_disks, "one of 2 devices of a btrfs"),
}


@pytest.fixture(scope="module")
def ended() -> Iterator[tuple[Path, dict[str, images.Ended]]]:
    """How `-si` ends for each of them, and a directory in which no destination must be."""
    place = Path(tempfile.mkdtemp(prefix="hpcp-mpi-test-", dir="/dev/shm"))
    ext4 = images.empty(place / "ext4", "ext4")
    runs = []
    for name, (make, _) in BAD.items():
        (place / name).mkdir()
        make(place / name / "x.img", ext4)
        runs.append((place / name / "x.img", place / name / "out"))
    hashes = {image: images.hash_of(image) for image, _ in runs if image.is_file()}
    found = dict(zip(BAD, images.restored(*runs), strict=True))
    assert {image: images.hash_of(image) for image in hashes} == hashes
    yield place, found
    shutil.rmtree(place)


@needs_root
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_words(name: str, ended: tuple[Path, dict[str, images.Ended]]) -> None:
    place, found = ended
    assert found[name].code == 1
    assert re.search(BAD[name][1], found[name].says), found[name].says
    assert not (place / name / "out").exists()
    assert images.loops_on(place) == []


@needs_root
def test_a_character_device_is_not_even_opened(tmp_path: Path) -> None:
    done = run(["-si", "/dev/zero", "-d", tmp_path / "out"], flavour="plain")
    assert done.returncode == 1
    assert "neither a file nor a block device" in done.stderr


@needs_root
def test_who_is_not_root_reads_a_sentence(everyone: Callable[[Path], Path], on_tmpfs: Path) -> None:
    place = everyone(on_tmpfs / "place")
    (place / "x.img").write_bytes(bytes(MIB))
    done = run(["-si", place / "x.img", "-d", place / "out"], flavour="plain", user="nobody")
    assert done.returncode == 1, str(done)
    assert "Traceback" not in done.stderr
    assert "root" in done.stderr
