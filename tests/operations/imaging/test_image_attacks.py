"""Images that were made to harm who reads or writes them, and places that others exchange meanwhile."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import disks, tables
from tests.support.disks import MIB, Disk
from tests.support.image_jobs import digest_of_tree
from tests.support.image_runs import ImageRuns
from tests.support.launch import Finished, command_line
from tests.support.marks import needs_commands, needs_root
from tests.support.private_mounts import in_private
from tests.support.tables import Entry
from tests.support.terminal import at_terminal

pytestmark = [pytest.mark.root, needs_commands("rsync", *disks.COMMANDS)]
Original = Callable[[str], Disk]
LATER = pytest.mark.to_the_end
EVIL_NAMES = ("..", ".", "../../victim", "/victim", "a/../../victim", "-rf", "\n", "\x1b[2J", "", "x" * 36)


def refused(done: Finished, *words: str) -> None:
    said = str(done)
    assert done.returncode in (1, 2), said
    assert "Traceback" not in said, said
    for word in words:
        assert word in said, f"{word!r} is not in {said}"


@pytest.fixture
def victim(on_tmpfs: Path) -> Path:
    """A directory that must stay as it is. Tests work in a directory beside it."""
    (on_tmpfs / "victim").mkdir()
    (on_tmpfs / "victim" / "file").write_text("mine")
    return on_tmpfs / "victim"


def small_file_system(path: Path, tree: str, size: str = "8M") -> bytes:
    """The bytes of an ext4 that a shell script filled, in $1."""
    subprocess.run(["mkfs.ext4", "-q", "-F", path, size], check=True, capture_output=True)
    in_private('on "$1" 0 0 "$room/m" -t ext4; set -- "$room/m"; ' + tree, path)
    return path.read_bytes()


def a_table(path: Path, entries: list[Entry], content: bytes = b"", size: int = 200 * MIB) -> Path:
    with open(path, "wb") as file:
        file.truncate(size)
        for entry in entries:
            if content and (entry.start * 512 + len(content)) < size:
                os.pwrite(file.fileno(), content, entry.start * 512)
    tables.write_gpt(path, entries)
    return path


def at_mib(number: int, start: int, size: int = 8, **more: str) -> Entry:
    return Entry(number, start * 2048, size * 2048, **more)


@needs_root
@pytest.mark.parametrize(
    "entries, words",
    [
        ([at_mib(1, 1), at_mib(2, 195, 20)], ("partition 2",)),
        ([at_mib(1, 1), at_mib(2, 5)], ("1", "2")),
        pytest.param([at_mib(1, 1), Entry(2, 20 * 2048, (1 << 63) - 1)], ("partition 2",), marks=LATER),
        pytest.param([at_mib(1, 1), at_mib(2, 1)], ("1", "2"), marks=LATER),
        pytest.param([Entry(1, 0, 4096)], ("partition 1",), marks=LATER),
        pytest.param([at_mib(1, 1), Entry(2, 30 * 2048, 0)], ("partition 2",), marks=LATER),
    ],
    ids=["beyond", "overlap", "far beyond", "equal", "over the table", "empty"],
)
def test_tables_that_cannot_be_are_refused_and_nothing_is_touched(
    entries: list[Entry], words: tuple[str, ...], on_tmpfs: Path, victim: Path
) -> None:
    content = small_file_system(on_tmpfs / "fs", 'echo x >"$1/file"')
    image, other = a_table(on_tmpfs / "a.img", entries, content), on_tmpfs / "b.img"
    other.write_bytes(b"was here")
    tool = ImageRuns(on_tmpfs)
    refused(tool("-dd", image, "-di", other, "--yes"), "a.img", *words)
    assert other.read_bytes() == b"was here"
    refused(tool("-si", image, "-d", on_tmpfs / "out"), "a.img", *words)
    assert not (on_tmpfs / "out").exists() or os.listdir(on_tmpfs / "out") == []


@needs_root
def test_names_of_partitions_do_not_lead_out_of_the_destination(on_tmpfs: Path, victim: Path) -> None:
    work = on_tmpfs / "work" / "below"
    work.mkdir(parents=True)
    content = small_file_system(on_tmpfs / "fs", 'echo x >"$1/line"; echo evil >"$1/file"')
    entries = [at_mib(n, 10 * n, name=name) for n, name in enumerate(EVIL_NAMES, 1)]
    image = a_table(on_tmpfs / "a.img", entries, content)
    before = digest_of_tree(victim)
    done = ImageRuns(on_tmpfs)("-si", image, "-d", work / "out")
    assert done.returncode == 0, done
    assert len(os.listdir(work / "out")) == len(EVIL_NAMES)
    assert all((work / "out" / name / "line").read_text() == "x\n" for name in os.listdir(work / "out"))
    assert digest_of_tree(victim) == before
    assert os.listdir(on_tmpfs / "work") == ["below"] and os.listdir(work) == ["out"]
    assert "\x1b" not in done.stdout + done.stderr


@needs_root
def test_what_an_image_holds_is_copied_and_never_followed(on_tmpfs: Path, victim: Path) -> None:
    image = on_tmpfs / "a.img"
    small_file_system(
        image,
        f'ln -s / "$1/root"; ln -s {victim} "$1/there"; mknod "$1/disk" b 7 0; cp /bin/true "$1/setuid"; '
        'chmod 4755 "$1/setuid"; mkdir "$1/d"; ln -s ../.. "$1/d/up"; mkfifo "$1/fifo"',
    )
    before, out = digest_of_tree(victim), on_tmpfs / "out"
    done = ImageRuns(on_tmpfs)("-si", image, "-d", out)
    assert done.returncode == 0, done
    assert os.readlink(out / "root") == "/" and os.readlink(out / "there") == str(victim)
    assert (out / "disk").is_block_device() and (out / "fifo").is_fifo()
    assert (out / "setuid").stat().st_mode & 0o7777 == 0o4755
    assert digest_of_tree(victim) == before


@needs_root
def test_a_symlink_of_one_image_does_not_lead_what_another_one_holds(on_tmpfs: Path, victim: Path) -> None:
    first, second = on_tmpfs / "a.img", on_tmpfs / "b.img"
    small_file_system(first, f'ln -s {victim} "$1/d"')
    small_file_system(second, 'mkdir "$1/d"; echo evil >"$1/d/file"')
    before = digest_of_tree(victim)
    ImageRuns(on_tmpfs)("-si", first, second, "-d", on_tmpfs / "out")
    assert digest_of_tree(victim) == before
    ImageRuns(on_tmpfs)("-si", second, "-d", on_tmpfs / "out")
    assert digest_of_tree(victim) == before


@needs_root
@pytest.mark.parametrize("where", ["parent", pytest.param("place", marks=LATER)])
def test_a_symlink_in_an_image_does_not_lead_a_copy_into_it_out_of_it(where: str, on_tmpfs: Path, victim: Path) -> None:
    tree = on_tmpfs / "up" / "T"
    tree.mkdir(parents=True)
    (tree / "file").write_text("evil")
    (on_tmpfs / "victim" / "T").mkdir()
    image = on_tmpfs / "i.img"
    at = tree if where == "place" else tree.parent
    small_file_system(image, f'mkdir -p "$1{at.parent}"; ln -s {victim} "$1{at}"', "60M")
    before = digest_of_tree(victim)
    done = ImageRuns(on_tmpfs)(tree, "-di", image)
    assert digest_of_tree(victim) == before, done
    assert "Traceback" not in str(done), done
    if done.returncode == 0:  # then it was replaced
        assert in_private('on "$1" 0 0 "$room/m" -o ro; cat "$room/m$2"', image, tree / "file") == "evil"


@needs_root
@pytest.mark.parametrize(
    "answer", ["symlink", pytest.param("file", marks=LATER), pytest.param("directory", marks=LATER)]
)
def test_a_destination_that_is_exchanged_during_the_question_is_not_followed(
    answer: str, original_disk: Original, on_tmpfs: Path, victim: Path
) -> None:
    disk, other = original_disk("dos"), on_tmpfs / "b.img"
    other.write_bytes(b"to be overwritten")
    (victim / "disk").write_bytes(b"precious" * 1000)
    with at_terminal(*command_line(["-dd", disk.path, "-di", other], flavour="plain")) as terminal:
        terminal.expect(r"\[y/N\] ", timeout=60)
        other.unlink()
        if answer == "symlink":
            other.symlink_to(victim / "disk")
        elif answer == "file":
            os.link(victim / "disk", other)
        else:
            other.mkdir()
        before = digest_of_tree(victim)
        terminal.type("y\n")
        done = terminal.finish(60)
    assert digest_of_tree(victim) == before, done
    assert done.returncode == 1 and "Traceback" not in done.screen, done


@needs_root
@LATER
def test_a_device_that_is_exchanged_during_the_question_is_not_written_to(
    original_disk: Original, on_tmpfs: Path
) -> None:
    """What was asked about is written to, or nothing is: never what has its name by now."""
    from hpcp_mpi.host.block import loops

    files = [on_tmpfs / "meant", on_tmpfs / "precious"]
    for file in files:
        with open(file, "wb") as made:
            made.truncate(1000 * MIB)
    fds = [os.open(file, os.O_RDWR) for file in files]
    name = on_tmpfs / "device"
    with loops.attach(fds[0], writable=True) as meant, loops.attach(fds[1], writable=True) as precious:
        name.symlink_to(os.fsdecode(meant.path))
        with at_terminal(*command_line(["-dd", original_disk("dos").path, "-d", name], flavour="plain")) as terminal:
            terminal.expect("Type .* to go on: ", timeout=60)
            name.unlink()
            name.symlink_to(os.fsdecode(precious.path))
            terminal.type(f"{name}\n")
            done = terminal.finish(60)
    for fd in fds:
        os.close(fd)
    assert files[1].stat().st_blocks == 0, done
    assert "Traceback" not in done.screen
    assert done.returncode == 1 or disks.places(files[0]) == disks.places(original_disk("dos").path), done


@needs_root
@LATER
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_damaged_file_systems_end_in_one_sentence(kind: str, original_disk: Original, on_tmpfs: Path) -> None:
    image = original_disk("gpt").taken_out({"ext4": "root", "xfs": "big", "btrfs": "trees"}[kind], on_tmpfs / "a.img")
    begin = {"ext4": 1024 + 512, "xfs": 200, "btrfs": 65536 + 500}[kind]
    with open(image, "r+b") as file:
        file.seek(begin)
        file.write(b"\xff" * 64)
        if kind == "ext4":
            file.seek(2048)
            file.write(b"\xff" * 1024)
    done = ImageRuns(on_tmpfs)("-si", image, "-d", on_tmpfs / "out")
    refused(done, "a.img")
