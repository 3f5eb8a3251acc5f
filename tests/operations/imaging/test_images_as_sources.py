"""`-si` copies what a mounted image shows, and nothing else; judged by rsync, find and sha256sum."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import disks, images
from tests.support.copies import copy, items, refused
from tests.support.effort import each_value
from tests.support.launch import World
from tests.support.marks import needs_commands, needs_root, worlds
from tests.support.private_mounts import in_private
from tests.support.tables import Entry, write_gpt

pytestmark = [pytest.mark.root, needs_commands("mksquashfs", "mkfs.erofs", *disks.COMMANDS)]
MIB = 1 << 20
OriginalDisk = Callable[[str], disks.Disk]
# Directories that the partitions land in.
PLACES = {
    "gpt": {"root": "root", "old": disks.QUOTED, "big": "big_..", "trees": "日本語"},
    "gpt-4k": {"root": "root", "big": disks.QUOTED, "trees": "日本語"},
    "dos": {"root": "root", "old": "old", "trees": "tree of trees"},
}


@needs_root
@each_value
@pytest.mark.parametrize("world", worlds([2], ["plain", "mpich"]))
@pytest.mark.parametrize("kind", disks.KINDS)
def test_each_mountable_partition_lands_in_a_directory_of_its_name_and_the_image_stays_as_it_is(
    kind: str, world: World, original_disk: OriginalDisk, on_tmpfs: Path
) -> None:
    disk = original_disk(kind)
    before = images.hash_of(disk.path)
    done = copy("-si", disk.path, "-d", on_tmpfs / "out", world=world)
    assert sorted(path.name for path in (on_tmpfs / "out").iterdir()) == sorted(PLACES[kind].values())
    for key, name in PLACES[kind].items():
        part = disk[key]
        if key != "trees":
            assert images.unlike(disk.path, on_tmpfs / "out" / name, at=part) == "", key
    inner = on_tmpfs / "out" / PLACES[kind]["trees"] / "var" / "inner"  # a subvolume below the default one
    assert (inner / "line").read_bytes() == b"This is the file system trees inner.\n"
    assert images.hash_of(disk.path) == before
    assert images.loops_on(disk.path.parent) == []
    left_out = {each["number"]: each["content"] for each in done.report["partitions"] if each["treatment"] != "read"}
    assert left_out == {part.number: part.type for part in disk.parts if part.key not in PLACES[kind]}
    told = [each["note"] for each in done.report["notes"] if each["path"] == str(disk.path)]
    assert len(told) == len(left_out)
    assert all(any(f"partition {number} " in note for note in told) for number in left_out)
    (image,) = done.report["images"]
    assert (image["path"], image["what"], image["file_system"]) == (str(disk.path), "read", kind.partition("-")[0])


@needs_root
@pytest.mark.parametrize("kind", ["ext3", *images.READ_ONLY])  # the others are on the disks
def test_the_contents_of_an_image_of_one_file_system_land_in_the_destination(kind: str, on_tmpfs: Path) -> None:
    image = images.made(on_tmpfs / "x.img", kind)
    before = images.hash_of(image)
    done = copy("-si", image, "-d", f"{on_tmpfs}/out/")
    assert images.unlike(image, on_tmpfs / "out", kind=kind) == ""
    assert images.hash_of(image) == before
    assert images.loops_on(on_tmpfs) == []
    assert done.report["images"][0]["file_system"] == kind
    assert copy("-si", image, "-d", on_tmpfs / "out").copied_entries == 0


@needs_root
def test_a_block_device_is_read_as_an_image_and_not_written(original_disk: OriginalDisk, on_tmpfs: Path) -> None:
    single = images.unclean(on_tmpfs / "x.img", "ext4")
    before = images.hash_of(single)
    disk = original_disk("gpt")
    with images.attached(disk.path, "--read-only") as device:
        copy("-si", device, "-d", on_tmpfs / "out")
    assert images.unlike(disk.path, on_tmpfs / "out" / "root", at=disk["root"]) == ""
    with images.attached(single) as device:  # mounting this one as `-o ro` does would replay the journal
        refused("-si", device, "-d", on_tmpfs / "two", says="was not unmounted", code=[1])
        copy("-si", device, "-d", on_tmpfs / "two", "--unclean", "copy")
    assert (on_tmpfs / "two" / "late" / "synced").exists()
    assert images.hash_of(single) == before


@needs_root
def test_several_images_merge_in_the_destination(on_tmpfs: Path) -> None:
    one = images.made(on_tmpfs / "one.img", "ext4", 'mkdir -p "$1/both/a"; echo 1 >"$1/both/a/1"; echo 1 >"$1/one"')
    two = images.made(on_tmpfs / "two.img", "squashfs", 'mkdir -p "$1/both/a"; echo 2 >"$1/both/a/2"')
    copy("-si", one, two, "-d", on_tmpfs / "out")
    found = sorted(str(path.relative_to(on_tmpfs / "out")) for path in (on_tmpfs / "out").rglob("*"))
    assert found == ["both", "both/a", "both/a/1", "both/a/2", "one"]
    three = images.made(on_tmpfs / "three.img", "squashfs", 'echo 3 >"$1/one"')
    refused(
        "-si", one, "-si", three, "-d", on_tmpfs / "no", says="one.img:/one and .*three.img:/one would both land on"
    )
    assert not (on_tmpfs / "no").exists()


@needs_root
def test_partitions_are_picked_by_name_or_number(original_disk: OriginalDisk, on_tmpfs: Path) -> None:
    disk = original_disk("gpt")
    copy("-si", disk.path, "-d", on_tmpfs / "one", "--partition", "root")
    assert images.unlike(disk.path, on_tmpfs / "one", at=disk["root"]) == ""
    copy("-si", disk.path, "-d", on_tmpfs / "two", "--partition", "9", "--partition", "big/..")
    assert sorted(path.name for path in (on_tmpfs / "two").iterdir()) == sorted([disks.QUOTED, "big_.."])
    wrong = {
        "nosuch": r"no partition nosuch is in .*\n.*4 \(root\)",
        "5": "partition 5 holds swap",
        "12": "partition 12 holds something encrypted",
        "1": "partition 1 holds no file system that is known",
    }
    ended = images.restored(*((disk.path, on_tmpfs / "no", "refuse", wanted) for wanted in wrong))
    for each, says in zip(ended, wrong.values(), strict=True):
        assert each.code == 1
        assert re.search(says, each.says), each.says
    assert not (on_tmpfs / "no").exists()


@needs_root
def test_names_of_partitions_never_lead_out_of_the_destination(on_tmpfs: Path) -> None:
    image, part = on_tmpfs / "x.img", images.made(on_tmpfs / "part", "squashfs", 'echo x >"$1/x"')
    names = ["..", "../../up", "/etc", "same", "same", ".", "", "\x1b[31mred"]
    with open(image, "wb") as file:
        file.truncate((len(names) + 2) * MIB)
    write_gpt(image, [Entry(at, start=at * 2048, size=2048, name=name) for at, name in enumerate(names, 1)])
    with open(image, "r+b") as file:
        for at in range(1, len(names) + 1):
            file.seek(at * MIB)
            file.write(part.read_bytes())
    done = copy("-si", image, "-d", on_tmpfs / "in" / "out")
    found = sorted(path.name for path in (on_tmpfs / "in" / "out").iterdir())
    assert found == sorted(["part1", ".._.._up", "_etc", "same-4", "same-5", "part6", "part7", "\x1b[31mred"])
    assert all((on_tmpfs / "in" / "out" / name / "x").exists() for name in found)
    assert sorted(path.name for path in (on_tmpfs / "in").iterdir()) == ["out"]
    assert "\x1b" not in done.done.stderr + done.done.stdout
    refused("-si", image, "-d", on_tmpfs / "no", "--partition", "same", says="several partitions called same: 4, 5")


@needs_root
def test_lost_and_found_is_left_out_if_it_is_empty_and_noted_if_not(on_tmpfs: Path) -> None:
    empty = images.made(on_tmpfs / "empty.img", "ext4", 'echo x >"$1/x"; mkdir -p "$1/sub/lost+found"')
    done = copy("-si", empty, "-d", on_tmpfs / "out")
    assert sorted(path.name for path in (on_tmpfs / "out").iterdir()) == ["sub", "x"]
    assert (on_tmpfs / "out" / "sub" / "lost+found").is_dir()
    assert done.notes == {}
    full = images.made(on_tmpfs / "full.img", "ext4", 'echo x >"$1/lost+found/#12"')
    done = copy("-si", full, "-d", on_tmpfs / "two")
    assert (on_tmpfs / "two" / "lost+found" / "#12").read_text() == "x\n"
    assert "not empty" in done.notes[f"{full}:/lost+found"]
    other = images.made(on_tmpfs / "other.img", "squashfs", 'mkdir "$1/lost+found"')  # no ext: a directory like others
    copy("-si", other, "-d", on_tmpfs / "three")
    assert (on_tmpfs / "three" / "lost+found").is_dir()


@needs_root
def test_excludes_and_messages_are_of_the_path_inside_the_image(on_tmpfs: Path) -> None:
    fill = 'mkdir -p "$1/etc/sub" "$1/tmp"; echo x | tee "$1/etc/shadow" "$1/etc/sub/shadow" "$1/etc/z" >"$1/tmp/x"'
    image = images.made(on_tmpfs / "x.img", "ext4", fill)
    out = on_tmpfs / "out"
    patterns = ["/etc/shadow", "z", "/tmp/*", "/nosuch", "/x.img/etc", f"{on_tmpfs}/out"]
    done = copy("-si", image, "-d", out, *(word for each in patterns for word in ("-e", each)))
    found = sorted(str(path.relative_to(out)) for path in out.rglob("*"))
    assert found == ["etc", "etc/sub", "etc/sub/shadow", "tmp"]
    unmatched = {path for path, note in done.notes.items() if "matched nothing" in note}
    assert unmatched == {"/nosuch", "/x.img/etc", f"{on_tmpfs}/out"}
    (on_tmpfs / "two" / "etc" / "shadow").mkdir(parents=True)
    (on_tmpfs / "two" / "etc" / "shadow" / "full").touch()
    failed = copy("-si", image, "-d", on_tmpfs / "two", code=23)
    assert list(failed.failures) == [f"{image}:/etc/shadow"]
    assert f"{image}:/etc/shadow" in failed.done.stderr
    assert "hpcp-mpi.images" not in failed.done.stderr + failed.done.stdout + json.dumps(failed.report)


@needs_root
def test_a_list_of_an_image_is_the_list_of_its_tree_and_both_can_be_compared(on_tmpfs: Path) -> None:
    image, tree = images.made(on_tmpfs / "x.img", "ext4"), on_tmpfs / "out"
    copy("-si", image, "-d", tree)
    copy("-si", image, "-fl", on_tmpfs / "image.list")
    copy(f"{tree}/", "-fl", on_tmpfs / "tree.list")
    assert (on_tmpfs / "image.list").read_text() == (on_tmpfs / "tree.list").read_text()
    done = copy("-si", image, "-d", tree, "-cfl")
    assert done.report["differences"] == {"added": 0, "modified": 0, "deleted": 0}
    (tree / "line").write_text("changed\n")
    (tree / "extra").touch()
    done = copy("-si", image, "-d", tree, "-cfl", "-dfl", on_tmpfs / "table", code=3)
    assert done.report["paths"] == {
        "added": [],
        "modified": ["./", "deep/a/b/c/twin", "line"],
        "deleted": ["extra"],
    }
    rows = [line.split("\t")[:2] for line in (on_tmpfs / "table").read_text().splitlines()]
    assert ["D", "extra"] in rows
    assert ["M", "line"] in rows
    copy("-si", image, "-fl", on_tmpfs / "tree.list", "-cfl")
    with open(on_tmpfs / "tree.list", "a") as file:
        file.write("more/\n")
    copy("-si", image, "-fl", on_tmpfs / "tree.list", "-cfl", code=3)


@needs_root
def test_names_in_a_list_of_partitions_begin_with_their_directories(
    original_disk: OriginalDisk, on_tmpfs: Path
) -> None:
    disk = original_disk("dos")
    copy("-si", disk.path, "-fl", on_tmpfs / "list", "-e", "names")
    names = {line.partition("/")[0] for line in (on_tmpfs / "list").read_text().splitlines()}
    assert names == set(PLACES["dos"].values())
    copy("-si", disk.path, "-fl", on_tmpfs / "list", "-cfl", "-e", "names")


@needs_root
def test_a_dry_run_shows_each_entry_and_writes_nothing(on_tmpfs: Path) -> None:
    image = images.made(on_tmpfs / "x.img", "ext4", 'mkdir "$1/a"; echo x >"$1/a/b"')
    done = copy("-si", image, "-d", on_tmpfs / "out", "-n")
    assert items(done.done.stdout).keys() >= {"a/", "a/b"}
    assert not (on_tmpfs / "out").exists()
    assert [each["what"] for each in done.report["images"]] == ["read"]
    verified = copy("-si", image, "-d", on_tmpfs / "out", "--verify")
    assert verified.report["verified"]["files"] == 1


@needs_root
def test_nothing_lands_on_the_image_that_is_read(on_tmpfs: Path) -> None:
    out = on_tmpfs / "out"
    (out / "sub").mkdir(parents=True)
    made = images.made(on_tmpfs / "x.img", "squashfs", 'mkdir "$1/sub"; echo x | tee "$1/sub/x.img" >"$1/y"')
    image = Path(shutil.move(made, out / "sub" / "x.img"))
    before = images.hash_of(image)
    refused("-si", image, "-d", out, says="sub/x.img:/sub/x.img would land on the image", code=[2])
    (on_tmpfs / "link").symlink_to(image)
    (on_tmpfs / "way").symlink_to(out)
    refused("-si", on_tmpfs / "link", "-d", on_tmpfs / "way", says="would land on the image", code=[2])
    assert not (out / "y").exists()
    copy("-si", image, "-d", out, "-e", "/sub/x.img")
    assert (out / "y").exists()
    copy("-si", image, "-d", on_tmpfs / "other")
    assert images.hash_of(image) == before


@needs_root
def test_a_link_in_an_image_is_not_a_way_out_of_it(on_tmpfs: Path) -> None:
    outside = on_tmpfs / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret\n")
    fill = (
        f'ln -s {outside} "$1/dir"; ln -s {outside}/secret "$1/file"; ln -s / "$1/root"; mkdir "$1/lost+found" || true'
    )
    image = images.made(on_tmpfs / "x.img", "ext4", fill)
    copy("-si", image, "-d", on_tmpfs / "out")
    assert sorted(path.name for path in (on_tmpfs / "out").iterdir()) == ["dir", "file", "root"]
    assert all(path.is_symlink() for path in (on_tmpfs / "out").iterdir())
    found = images.made(on_tmpfs / "f.img", "ext4", f'rmdir "$1/lost+found"; ln -s {outside} "$1/lost+found"')
    copy("-si", found, "-d", on_tmpfs / "two")
    assert (on_tmpfs / "two" / "lost+found").is_symlink()


@needs_root
def test_an_image_that_is_being_written_is_refused_and_one_that_is_read_is_not(on_tmpfs: Path) -> None:
    image = images.made(on_tmpfs / "x.img", "ext4", 'echo x >"$1/x"')
    with subprocess.Popen(["flock", "-x", image, "sh", "-c", "echo locked; read wait"], stdin=-1, stdout=-1) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == b"locked\n"
        refused("-si", image, "-d", on_tmpfs / "out", says="another process has locked", code=[1])
        writer.communicate(b"\n")
    with subprocess.Popen(["flock", "-s", image, "sh", "-c", "echo locked; read wait"], stdin=-1, stdout=-1) as reader:
        assert reader.stdout is not None and reader.stdout.readline() == b"locked\n"
        copy("-si", image, "-d", on_tmpfs / "out")
        reader.communicate(b"\n")


@needs_root
def test_the_mount_of_an_image_is_seen_by_nobody_else_and_is_safe(on_tmpfs: Path) -> None:
    image = images.made(on_tmpfs / "x.img", "ext4", 'mknod "$1/fifo" p; head -c 30M /dev/urandom >"$1/big"')
    script = r"""
        "${@:2}" & pid=$!
        while kill -0 $pid 2>/dev/null; do
            grep -h images /proc/$pid/mountinfo >>"$room/inside" 2>/dev/null || true
            grep -h hpcp-mpi.images /proc/self/mountinfo >>"$room/outside" || true
        done
        wait $pid
        grep -h '/00 ' "$room/inside" | sort -u; echo; cat "$room/outside"
    """
    command = [sys.executable, "-m", "hpcp_mpi", "-si", str(image), "-d", str(on_tmpfs / "out"), "--rate_limit", "30M"]
    inside, _, outside = in_private(script, image, *command).partition("\n\n")
    assert all(word in inside for word in ("ro,nosuid,nodev,noexec", " - ext4 /dev/loop"))
    assert outside.strip() == ""
