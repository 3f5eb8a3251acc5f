"""An image that is there (-di): brought up to date in place as a directory is, grown, compared; or refused."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import packed, trees
from tests.support.disks import Disk
from tests.support.marks import needs_commands, needs_root
from tests.support.packed import differences, inside, loops_of, pack, problems_of
from tests.support.private_mounts import in_private
from tests.support.trees import Dir, File, Symlink

pytestmark = [pytest.mark.root, needs_commands(*packed.COMMANDS)]
KINDS = ("ext4", "xfs", "btrfs")
MIB = 1 << 20


def _made(image: Path, kind: str = "ext4", size: int = 0, script: str = "") -> Path:
    """A file system that other programs made. script: run in its root"""
    with open(image, "wb") as file:
        file.truncate(size or {"ext4": 40 * MIB, "xfs": 300 * MIB, "btrfs": 256 * MIB}[kind])
    subprocess.run([f"mkfs.{kind}", "-q", image], check=True)
    if script:
        in_private('on "$1" 0 "$(stat -c %s "$1")" "$room/image"; cd "$room/image"; eval "$2"', image, script)
    return image


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _copied(output: str) -> str:
    """The counts of the line `copied` of the end: files, directories, links, other."""
    found = re.search(r"^copied +([0-9,]+) +([0-9,]+) +([0-9,]+) +([0-9,]+)", output, re.MULTILINE)
    assert found is not None, output
    return " ".join(found.groups())


@needs_root
@pytest.mark.parametrize("kind", ["ext4", "btrfs"])
def test_an_image_is_brought_up_to_date_and_grows_when_the_sources_have_more(on_tmpfs: Path, kind: str) -> None:
    source, image = on_tmpfs / "s", on_tmpfs / "i.img"
    trees.build(on_tmpfs, {"s": Dir({"f": File(b"1"), "d": Dir({"g": File(os.urandom(MIB))})})})
    pack(source, "-di", image, "--image-fs", kind).check()
    size = image.stat().st_size
    again = pack(source, "-di", image).check()
    assert _copied(again.stdout) == "0 0 0 0"
    assert image.stat().st_size == size
    count = 80
    trees.build(source, {"more": Dir({f"h{number}": File(os.urandom(MIB)) for number in range(count)})})
    (source / "f").write_bytes(b"changed")
    grown = pack(source, "-di", image).check()
    assert "it was made bigger" in grown.stdout + grown.stderr
    assert _copied(grown.stdout) == f"{count + 1} 1 0 0"
    assert not re.search(r"^[>c]f", grown.stdout, re.MULTILINE), "nothing is itemized"
    assert problems_of(image) == ""
    assert differences(source, image) == ""
    assert image.stat().st_size > size
    assert loops_of(image) == []


@needs_root
def test_the_command_that_made_an_image_goes_on_with_it_and_one_that_asks_for_another_is_refused(
    on_tmpfs: Path,
) -> None:
    """As a job that is run again, or a run that was killed when it had just given the image its name."""
    source, image = on_tmpfs / "s", on_tmpfs / "i.img"
    trees.build(on_tmpfs, {"s": Dir({"f": File(b"1")})})
    asked = (source, "-di", image, "--image-fs", "ext4", "--image-label", "data", "--mkfs-option=-q")
    pack(*asked).check()
    again = pack(*asked).check()
    assert _copied(again.stdout) == "0 0 0 0"
    assert "it was there already, so --mkfs-option did nothing" in again.stderr
    before = _hash(image)
    for words, said in (
        (("--image-fs", "xfs"), "with ext4 where --image-fs asks for xfs"),
        (("--image-label", "other"), "with data where --image-label asks for other"),
    ):
        done = pack(source, "-di", image, *words)
        assert done.returncode == 2 and said in done.stderr
        assert _hash(image) == before


@needs_root
def test_a_mirror_removes_what_the_source_lacks_but_neither_lost_and_found_nor_other_trees(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": Dir({"f": File(b"1")})})
    image = _made(on_tmpfs / "i.img", script="echo x >lost+found/rescued; mkdir old; echo y >old/z; echo k >keep")
    done = pack(on_tmpfs / "s", "-di", image, "--image-root", "-rme", "-rf", "-e", "keep").check()
    assert inside(image, "find . -type f | sort").split() == ["./f", "./keep", "./lost+found/rescued"], str(done)
    compared = pack("-cfl", on_tmpfs / "s", "-di", image, "--image-root", "-e", "keep")
    assert (compared.returncode, "Deleted (in the destination, not in the source): 0" in compared.stdout) == (0, True)
    below = _made(on_tmpfs / "j.img", script=f"mkdir -p .{on_tmpfs}/s other; echo 1 | tee other/x >.{on_tmpfs}/s/old")
    pack(on_tmpfs / "s", "-di", below, "-rme", "-rf").check()
    assert inside(below, "find . -type f | sort").split() == [f".{on_tmpfs}/s/f", "./other/x"]


@needs_root
def test_a_mirror_asks_first_and_without_a_terminal_it_is_refused(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": Dir({"f": File(b"1")})})
    image = _made(on_tmpfs / "i.img", script="echo y >old")
    before = _hash(image)
    done = pack(on_tmpfs / "s", "-di", image, "--image-root", "-rme")
    assert done.returncode == 2, str(done)
    assert _hash(image) == before


_API = """
from hpcp_mpi.operations.session import run
from hpcp_mpi.vocab.image_options import ImageOptions
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.request import Request, Verb
run(Request(Verb.IMAGE, ({source!r},), {asked}), {{}})
"""


@needs_root
def test_an_image_that_may_not_grow_lacks_what_does_not_fit(on_tmpfs: Path) -> None:
    image, count = _made(on_tmpfs / "i.img"), 50
    trees.build(on_tmpfs, {"s": Dir({f"f{number}": File(os.urandom(MIB)) for number in range(count)})})
    asked = f"images=ImageOptions(image={os.fsencode(image)!r}, grow=False), options=Options(require_space=True)"
    refused = pack("-c", _API.format(source=os.fsencode(on_tmpfs / "s"), asked=asked), python_args=())
    assert re.search(r"i\.img has [0-9.]+ MiB and [0-9,]+ inodes left, and up to [0-9.]+ MiB", refused.stderr)
    assert inside(image, "ls").split() in ([], ["lost+found"])
    done = pack(on_tmpfs / "s", "-di", image, "--no-grow")
    assert done.returncode == 23, str(done)
    assert "what does not fit will fail" in done.stdout + done.stderr
    assert image.stat().st_size == 40 * MIB
    assert problems_of(image) == ""


@needs_root
def test_a_dry_run_lists_what_would_be_copied_and_changes_nothing(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": Dir({"f": File(b"1"), "d": Dir({"g": File(b"2")})})})
    image = _made(on_tmpfs / "i.img", script="echo y >f")
    before = _hash(image)
    done = pack(on_tmpfs / "s", "-di", image, "--image-root", "-n").check()
    assert re.search(r"^>f.* f$", done.stdout, re.MULTILINE), str(done)
    assert re.search(r"^cd\+* d/$", done.stdout, re.MULTILINE), str(done)
    assert "read-only" not in done.stdout + done.stderr
    assert "hpcp-mpi.images" not in done.stdout + done.stderr, "mounts are called by their images"
    assert _hash(image) == before


@needs_root
def test_a_comparison_with_an_image_writes_nothing_and_tells_differences_by_its_exit_code(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": Dir({"f": File(b"1"), "g": File(b"2")})})
    pack(on_tmpfs / "s", "-di", on_tmpfs / "i.img").check()
    before = _hash(on_tmpfs / "i.img")
    assert pack("-cfl", on_tmpfs / "s", "-di", on_tmpfs / "i.img").returncode == 0
    (on_tmpfs / "s" / "f").write_bytes(b"3")
    (on_tmpfs / "s" / "g").unlink()
    done = pack("-cfl", on_tmpfs / "s", "-di", on_tmpfs / "i.img")
    assert done.returncode == 3
    assert re.search("Modified: 2", done.stdout), "the directory's time, too"
    assert re.search(r"Deleted \(.*\): 1", done.stdout)
    assert _hash(on_tmpfs / "i.img") == before
    assert pack("-cfl", on_tmpfs / "s", "-di", on_tmpfs / "none.img").returncode == 1


@needs_root
def test_no_symlink_of_an_image_is_followed(on_tmpfs: Path) -> None:
    outside = on_tmpfs / "outside"
    trees.build(on_tmpfs, {"s": Dir({"f": File(b"1")}), "outside": Dir({"there": File(b"2")})})
    top = on_tmpfs.parts[1]
    for script in (f"ln -s {outside} {top}", f"mkdir -p .{on_tmpfs}; ln -s {outside} .{on_tmpfs}/s"):
        image = _made(on_tmpfs / "i.img", script=script)
        done = pack(on_tmpfs / "s", "-di", image)
        assert done.returncode in (1, 23), str(done)
        assert sorted(os.listdir(outside)) == ["there"]
        assert problems_of(image) == ""


def _refusals() -> dict[str, tuple[str, str]]:
    """By name: a shell script that makes $1, and what the refusal says."""
    return {
        "empty": ('>"$1"', "is empty"),
        "zeros": ('truncate -s 20M "$1"', "holds no file system that is known"),
        "swap": ('truncate -s 20M "$1"; mkswap -q "$1" 2>/dev/null >&2', "holds swap"),
        "two signatures": (
            'truncate -s 200M "$1" "$1.b"; mkfs.ext4 -q "$1"; mkfs.btrfs -q "$1.b"; '
            'dd if="$1.b" of="$1" bs=4096 skip=16 seek=16 count=1 conv=notrunc status=none; rm "$1.b"',
            "signatures of several file systems",
        ),
        "compressed": ('printf "\\x28\\xb5\\x2f\\xfd0000" >"$1"; truncate -s 4096 "$1"', "compressed with zstd"),
        "cut short": ('truncate -s 40M "$1"; mkfs.ext4 -q "$1"; truncate -s 30M "$1"', "is cut short"),
        "damaged": (
            'truncate -s 40M "$1"; mkfs.ext4 -q -O ^metadata_csum "$1"; debugfs -w -R "clri <2>" "$1" 2>/dev/null',
            "has errors, and nothing was written to it|damaged",
        ),
        "a FIFO": ('mkfifo "$1"', "is neither a file nor a block device"),
        "a directory": ('mkdir "$1"', "is a directory"),
        "a broken link": ('ln -s nowhere/x "$1"', "No such file or directory"),
    }


@needs_root
@pytest.mark.parametrize("what", list(_refusals()))
def test_what_is_no_good_image_is_refused_and_left_as_it_is(on_tmpfs: Path, what: str) -> None:
    trees.build(on_tmpfs, {"s": Dir({"f": File(b"1")})})
    script, says = _refusals()[what]
    image = on_tmpfs / "i.img"
    subprocess.run(["bash", "-c", script, "bash", image], check=True, env={**os.environ, "PATH": "/usr/sbin:/usr/bin"})
    before = _hash(image) if image.is_file() else ""
    done = pack(on_tmpfs / "s", "-di", image)
    assert done.returncode in (1, 2), str(done)
    assert re.search(says, done.stderr), str(done)
    assert "\n  " in done.stderr, "a remedy is named"
    assert before == (_hash(image) if image.is_file() else "")
    assert len(os.listdir(on_tmpfs)) == 2


@needs_root
@pytest.mark.parametrize("kind", KINDS)
def test_an_image_whose_journal_was_not_replayed_is_refused(on_tmpfs: Path, kind: str) -> None:
    trees.build(on_tmpfs, {"s": Dir({"f": File(b"1")})})
    image = _made(on_tmpfs / "i.img", kind)
    in_private(
        'on "$1" 0 "$(stat -c %s "$1")" "$room/image"; cd "$room/image"; cp -a /etc .; sync -f .; cp "$1" "$2"',
        image,
        on_tmpfs / "unclean.img",
    )
    before = _hash(on_tmpfs / "unclean.img")
    done = pack(on_tmpfs / "s", "-di", on_tmpfs / "unclean.img")
    if kind == "btrfs" and done.returncode == 0:
        assert problems_of(on_tmpfs / "unclean.img") == ""  # a sync leaves btrfs good, without anything to replay
        return
    assert done.returncode == 1, str(done)
    assert "was not unmounted" in done.stderr
    assert _hash(on_tmpfs / "unclean.img") == before


@needs_root
def test_an_image_that_is_attached_or_mounted_by_anybody_is_refused(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": Dir({"f": File(b"1")})})
    image = _made(on_tmpfs / "i.img")
    holder = subprocess.Popen(
        [
            "unshare",
            "-m",
            "--propagation",
            "private",
            "sh",
            "-c",
            'mount -o loop "$0" /mnt && echo ok && read x',
            image,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ok\n"
        done = pack(on_tmpfs / "s", "-di", image)
        assert done.returncode == 1
        assert re.search(r"is attached as /dev/loop\d+", done.stderr)
    finally:
        holder.communicate(b"\n")
    pack(on_tmpfs / "s", "-di", image).check()


@needs_root
@pytest.mark.parametrize("label", ["gpt", "dos"])
def test_the_only_file_system_of_a_table_is_written_to_and_its_last_partition_grows(on_tmpfs: Path, label: str) -> None:
    trees.build(on_tmpfs, {"s": Dir({f"f{number}": File(os.urandom(MIB)) for number in range(60)})})
    image, part = on_tmpfs / "i.img", _made(on_tmpfs / "part", size=30 * MIB)
    with open(image, "wb") as file:
        file.truncate(42 * MIB)
    table = f"label: {label}\nstart=1MiB, size=10MiB, type={'U' if label == 'gpt' else 'S'}\nstart=11MiB, size=30MiB\n"
    subprocess.run(["sfdisk", "-q", image], input=table.encode(), check=True)
    with open(image, "r+b") as file:
        file.seek(11 * MIB)
        file.write(part.read_bytes())
    before = subprocess.run(["sfdisk", "-d", image], capture_output=True, text=True, check=True).stdout
    done = pack(on_tmpfs / "s", "-di", image).check()
    after = subprocess.run(["sfdisk", "-d", image], capture_output=True, text=True, check=True).stdout
    assert "made bigger" in done.stdout + done.stderr
    assert differences(on_tmpfs / "s", image, offset=11 * MIB) == ""
    changed = [(one, two) for one, two in zip(before.splitlines(), after.splitlines(), strict=True) if one != two]
    assert all(re.match(r"last-lba|.*img2 ", one) for one, _ in changed), changed
    assert len(changed) == (2 if label == "gpt" else 1)
    if label == "gpt":
        said = subprocess.run(["sgdisk", "-v", image], capture_output=True, text=True).stdout
        assert "No problems found" in said
    size = image.stat().st_size
    assert _copied(pack(on_tmpfs / "s", "-di", image).check().stdout) == "0 0 0 0"
    assert image.stat().st_size == size


@needs_root
def test_of_several_file_systems_one_has_to_be_named(on_tmpfs: Path, a_disk: object) -> None:
    disk: Disk = a_disk("gpt")  # type: ignore[operator]
    trees.build(on_tmpfs, {"s": Dir({"f": File(b"1")})})
    before = _hash(disk.path)
    done = pack(on_tmpfs / "s", "-di", disk.path)
    assert done.returncode == 2, str(done)
    assert "has several partitions that can be written to" in done.stderr
    assert _hash(disk.path) == before
    number = disk["root"].number
    pack(on_tmpfs / "s", "-di", disk.path, "--partition", str(number), "--no-grow").check()
    part = disk.taken_out("root", on_tmpfs / "root.img")
    assert inside(part, f"cat .{on_tmpfs}/s/f") == "1"


@needs_root
def test_a_block_device_is_updated_but_neither_formatted_nor_grown(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": Dir({"f": File(b"1")})})
    image = _made(on_tmpfs / "i.img")
    loop = subprocess.run(["losetup", "-f", "--show", image], capture_output=True, text=True, check=True).stdout.strip()
    try:
        pack(on_tmpfs / "s", "-di", loop, "--json", on_tmpfs / "json").check()
        (told,) = json.loads((on_tmpfs / "json").read_text())["images"]
        assert (told["bytes"], told["allocated"]) == (40 * MIB, None)
        subprocess.run(["dd", "if=/dev/zero", f"of={loop}", "bs=1M", "count=1", "status=none"], check=True)
        subprocess.run(["sync"], check=True)
        done = pack(on_tmpfs / "s", "-di", loop)
        assert done.returncode == 1, str(done)
    finally:
        subprocess.run(["losetup", "-d", loop], check=True)


@needs_root
def test_a_source_image_is_packed_anew_into_the_root_of_another_one(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": Dir({"f": File(b"1"), "d": Dir({"l": Symlink("../f")})})})
    pack(on_tmpfs / "s", "-di", on_tmpfs / "i.img", "--image-root", "--image-fs", "btrfs").check()
    before = _hash(on_tmpfs / "i.img")
    pack("-si", on_tmpfs / "i.img", "-di", on_tmpfs / "j.img").check()
    assert differences(on_tmpfs / "s", on_tmpfs / "j.img", ".") == ""
    assert _hash(on_tmpfs / "i.img") == before
    shutil.copy(on_tmpfs / "j.img", on_tmpfs / "k.img")
    same = pack("-si", on_tmpfs / "k.img", "-di", on_tmpfs / "k.img")
    assert same.returncode in (1, 2), str(same)


@needs_root
def test_a_file_of_less_than_a_sector_is_no_image(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": Dir({"f": File(b"1")}), "i.img": File(b"x" * 100)})
    done = pack(on_tmpfs / "s", "-di", on_tmpfs / "i.img")
    assert done.returncode == 1, str(done)
    assert "i.img has 100 bytes, so it is no image" in done.stderr, str(done)
    assert (on_tmpfs / "i.img").read_bytes() == b"x" * 100


@needs_root
def test_an_image_of_few_files_does_not_get_huge_when_many_are_added(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": Dir({"f": File(b"1")})})
    image = on_tmpfs / "i.img"
    pack(on_tmpfs / "s", "-di", image, "--image-fs", "ext4").check()
    trees.build(on_tmpfs / "s", {"more": Dir({str(number): File(b"2") for number in range(3000)})})
    pack(on_tmpfs / "s", "-di", image).check()
    assert image.stat().st_size < 600 * MIB
    assert problems_of(image) == ""
