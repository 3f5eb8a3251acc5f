"""The recipes of docs/images.md: each command is run as it stands there, on a small disk, and judged by other tools."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support import launch
from tests.support.marks import needs_commands, needs_root
from tests.support.private_mounts import in_private
from tests.support.trees import Dir, File, HardLink, Symlink, build

pytestmark = [
    pytest.mark.root,
    needs_commands("sfdisk", "sgdisk", "mkfs.ext4", "mksquashfs", "unsquashfs", "rsync", "losetup"),
]

DOCUMENT = launch.REPOSITORY / "docs/images.md"
RECIPES = {
    title: re.findall(r"(?m)^(?:hpcp-mpi) .*$", block)
    for title, block in re.findall(r"(?ms)^### ([^\n]+)\n.*?^```sh\n(.*?)^```$", DOCUMENT.read_text())
}
MIB = 1 << 20
TREE = {
    "etc": Dir({"fstab": File(b"UUID=1 / ext4\n", mode=0o600, mtime_ns=5), "same": HardLink("etc/fstab")}),
    "var": Dir({"cache": Dir({"apt": File(b"x" * 9999)}), "tmp": Dir({"t": File(b"y")})}),
    "usr": Dir({"data": File(b"d" * 3_000_000, xattrs={"user.x": b"1"}), "link": Symlink("data")}),
}


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that stands for what the recipes name."""
    with tempfile.TemporaryDirectory(prefix="hpcp-mpi-test-", dir="/var/tmp") as made:
        yield Path(made)


def cook(title: str, instead: Mapping[str, Path], *more: str) -> None:
    """Run the commands of a recipe. instead: what stands for the paths that it names; more: words for each command"""
    command, environment = launch.command_line([], flavour="plain")
    assert RECIPES[title]
    for line in RECIPES[title]:
        assert all(path in "".join(RECIPES[title]) for path in instead), "the recipe names other paths"
        for path, real in instead.items():
            line = line.replace(path, str(real))
        tool = " ".join(os.fsdecode(word) for word in command)
        words = ["bash", "-c", f'hpcp-mpi() {{ {tool} "$@" </dev/null; }}; {line} {" ".join(more)}']
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def disk(place: Path, root_mib: int = 64) -> Path:
    """A GPT disk with a BIOS boot partition, a file system called root and a swap."""
    image, inner = place / "disk", place / "inner"
    build(place / "tree", TREE)
    subprocess.run(["mkfs.ext4", "-q", "-d", place / "tree", "-L", "ROOT", inner, f"{root_mib}M"], check=True)
    subprocess.run(["mkswap", "-q", "-L", "SWAP", _sized(place / "swap", 8 * MIB)], check=True)
    _sized(image, (root_mib + 12) * MIB)
    lines = ["label: gpt", "2048,2048,21686148-6449-6E6F-744E-656564454649"]
    lines += [f'start=4096, size={root_mib * 2048}, type=L, name="root"', "size=16384, type=S", ""]
    subprocess.run(["sfdisk", "-q", image], input="\n".join(lines), text=True, check=True)
    for source, at in ((inner, 2), (place / "swap", 2 + root_mib)):
        words = ["dd", f"if={source}", f"of={image}", "bs=1M", f"seek={at}", "conv=notrunc,sparse", "status=none"]
        subprocess.run(words, check=True)
        source.unlink()
    return image


def _sized(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def attached(image: Path) -> Path:
    """A loop device over an image."""
    words = ["losetup", "--find", "--show", image]
    return Path(subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip())


def table(image: Path) -> dict[int, tuple[int, int]]:
    """Start and size (bytes) of each partition."""
    found = json.loads(subprocess.run(["sfdisk", "--json", image], capture_output=True, check=True).stdout)
    parts = found["partitiontable"]["partitions"]
    return {number: (each["start"] * 512, each["size"] * 512) for number, each in enumerate(parts, 1)}


def root_equals(image: Path, tree: Path, *options: str) -> None:
    """rsync finds no difference between a tree and the file system called root."""
    start, size = table(image)[2]
    script = 'on "$1" "$2" "$3" "$room/a" -o ro; t=$4; shift 4; rsync -aHAXin --checksum --delete "$@" "$t/" "$room/a/"'
    assert in_private(script, image, start, size, tree, "--exclude=lost+found", *options) == ""


@needs_root
def test_a_golden_image_is_restored_to_a_bigger_disk_and_shrunk(place: Path) -> None:
    source = disk(place)
    golden, small, bigger = place / "golden.img", place / "small.img", _sized(place / "bigger", 160 * MIB)
    loops = [attached(source), attached(bigger)]
    try:
        cook("A golden image of a running node", {"/dev/sda": loops[0], "/mnt/golden.img": golden})
        cook("Restore it to a bigger disk", {"/mnt/golden.img": golden, "/dev/sdb": loops[1]}, "--yes")
    finally:
        for loop in loops:
            subprocess.run(["losetup", "--detach", loop], check=True)
    cook("Shrink an image to its content", {"/mnt/golden.img": golden, "/mnt/small.img": small})
    left_out = ("--exclude=/var/cache/*", "--exclude=/var/tmp/*")
    for image in (golden, bigger, small):
        root_equals(image, place / "tree", *left_out)
        assert "No problems found" in subprocess.run(["sgdisk", "-v", image], capture_output=True, text=True).stdout
    assert table(golden) == table(source) and golden.stat().st_size == source.stat().st_size
    assert table(bigger)[2][1] > 140 * MIB and table(bigger)[2][0] == table(source)[2][0]
    assert table(small)[2][1] < 60 * MIB and small.stat().st_size < source.stat().st_size
    assert golden.stat().st_blocks * 512 < 30 * MIB, "it is sparse"


def test_a_dataset_becomes_a_squashfs_and_comes_back(place: Path) -> None:
    (place / "data").mkdir()
    build(place / "data/imagenet", {**TREE, "x.tmp": File(b"")})
    cook("A dataset as squashfs for Apptainer", {"/data": place / "data"})
    words = ["rsync", "-aHAXin", "--checksum", "--delete", "--exclude=*.tmp", "--modify-window=1"]
    words += [f"{place}/data/imagenet/", f"{place}/data/restored/"]
    assert subprocess.run(words, capture_output=True, check=True).stdout == b""


@needs_root
def test_a_monthly_patch_brings_the_other_side_up_to_date(place: Path) -> None:
    build(place / "old", TREE)
    subprocess.run(["cp", "-a", place / "old", place / "far"], check=True)
    subprocess.run(["cp", "-a", place / "old", place / "new"], check=True)
    (place / "new/etc/hosts").write_text("new")
    (place / "new/usr/data").write_bytes(b"changed")
    (place / "new/usr/link").unlink()
    names = {"/srv/soft-new": "new", "/srv/soft-old": "old", "/mnt/march.img": "march.img", "/far/soft": "far"}
    cook("A monthly patch", {path: place / name for path, name in names.items()})
    words = ["rsync", "-aHAXin", "--checksum", "--delete", f"{place}/new/", f"{place}/far/"]
    assert subprocess.run(words, capture_output=True, check=True).stdout == b""


def test_every_recipe_is_cooked_here() -> None:
    text = Path(__file__).read_text()
    assert len(RECIPES) == 5 and all(f'cook("{title}"' in text for title in RECIPES)
