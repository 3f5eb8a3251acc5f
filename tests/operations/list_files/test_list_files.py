"""-fl: what a file list says of a tree, judged by find, by lstat and by hashing the files here."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpcp_mpi.formats.file_list import read
from hpcp_mpi.operations.list_files import rank0 as list_files
from hpcp_mpi.operations.list_files import worker as naming
from hpcp_mpi.operations.list_files.values import Values
from hpcp_mpi.vocab.request import Style
from tests.support import faultfs
from tests.support.copies import PLAIN, STAGE, copy, refused, state
from tests.support.launch import World
from tests.support.lists import EMPTY, expected, find, listed, made, natural
from tests.support.marks import each_world, needs_fuse, needs_root
from tests.support.torture import torture
from tests.support.trees import Device, Dir, Fifo, File, Name, Node, Socket, Symlink, build

TREE: dict[Name, Node] = {
    "a1": File(b"one"),
    "a02": File(b"two"),
    "a10": File(b"x" * 70_000 + b"end"),
    "A3": File(b""),
    "a-": Symlink("../a1"),
    "b.d": Dir({"z": File(b"z"), "y 9": File(b"9"), "y 10": Dir({"deep": Dir()})}),
    "b": Dir({"pipe": Fifo(), "socket": Socket(), "link": Symlink("nowhere")}),
    "B2": Dir({str(number): File(b"%d" % number) for number in range(30)}),
    "-": File(b"-"),
}


@pytest.fixture
def src(on_tmpfs: Path) -> Path:
    build(on_tmpfs / "src", TREE)
    return on_tmpfs / "src"


def lines_of(text: bytes) -> list[bytes]:
    assert text.endswith(b"\n")
    return text.split(b"\n")[:-1]


# --- what it says


@pytest.mark.parametrize(("given", "prefix"), [("src/", ""), ("src", "src/"), ("./src", "src/"), ("src/.", "")])
def test_a_list_names_everything_below_the_source_as_it_was_given(src: Path, given: str, prefix: str) -> None:
    file = src.parent / "list"
    copy(given, "-fl", file, cwd=src.parent)
    lines = lines_of(file.read_bytes())
    assert len(lines) == len(set(lines))
    assert set(lines) == expected(src, prefix)


@pytest.mark.parametrize(
    ("options", "tail"),
    [({}, 65536), ({"hash_size": 10}, 10), ({"hash_size": 0}, 0), ({"full_hash": True}, None)],
    ids=["default", "-hs-10", "-hs-0", "-fh"],
)
def test_hashes_are_those_of_the_ends_of_files(src: Path, options: dict[str, Any], tail: int | None) -> None:
    assert set(lines_of(made(f"{src}/", src.parent / "list", **options))) == expected(src, tail=tail)


def test_a_hash_of_a_megabyte_and_more_is_read_in_blocks(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"big": File(os.urandom(9 << 20))})
    for options, tail in ({"full_hash": True}, None), ({"hash_size": 5 << 20}, 5 << 20):
        lines = lines_of(made(f"{on_tmpfs}/src/", on_tmpfs / "list", **options))
        assert set(lines) == expected(on_tmpfs / "src", tail=tail)


def test_a_list_without_hashes_has_names_only(src: Path) -> None:
    assert set(lines_of(made(f"{src}/", src.parent / "list", hashes=False))) == expected(src, hashes=False)


def test_entries_come_in_natural_order_directory_by_directory(src: Path) -> None:
    lines = lines_of(made(f"{src}/", src.parent / "list", hashes=False))
    assert lines == sorted(lines, key=natural)
    assert lines[:7] == [b"./", b"-", b"a1", b"a02", b"A3", b"a10", b"a-"]
    assert lines[lines.index(b"b.d/") :][:5] == [b"b.d/", b"b.d/y 9", b"b.d/y 10/", b"b.d/y 10/deep/", b"b.d/z"]


@needs_root
def test_devices_are_told_by_their_numbers(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"null": Device(1, 3), "disk": Device(8, 17, block=True)})
    assert set(lines_of(made(f"{on_tmpfs}/src/", on_tmpfs / "list"))) == expected(on_tmpfs / "src")


@needs_root
@pytest.mark.parametrize("style", list(Style))
def test_every_name_that_there_can_be_is_listed(on_tmpfs: Path, style: Style) -> None:
    src = on_tmpfs / "src"
    torture(src, as_root=True)
    text = made(f"{src}/", on_tmpfs / "list", hashes=style is Style.HASHES, nul=style is Style.NUL)
    found = [read(each, style).name for each in text.split(style.end)[:-1]]
    assert len(found) == len(set(found))
    assert set(found) - {b""} == find(src)
    if style is Style.NUL:
        assert text.startswith(b".\0") and b"/\0" not in text
    else:
        assert text.decode("utf-8").replace("\n", "").isprintable()


# --- sources


def test_a_source_that_is_no_directory_is_one_line(src: Path) -> None:
    for name, line in ("A3", b"A3:" + EMPTY.encode()), ("a-", b"a-:../a1"), ("b/pipe", b"pipe:=fifo"):
        assert made(src / name, src.parent / "list") == line + b"\n"


def test_a_link_to_a_directory_is_listed_as_what_it_is_and_entered_with_a_slash(src: Path) -> None:
    (src.parent / "link").symlink_to("src/b")
    assert made(src.parent / "link", src.parent / "list") == b"link:src/b\n"
    text = made(f"{src.parent}/link/", src.parent / "list")
    assert lines_of(text) == [b"./", b"link:nowhere", b"pipe:=fifo", b"socket:=socket"]


def test_several_sources_are_one_list_in_one_order(on_tmpfs: Path) -> None:
    build(on_tmpfs / "one", {"a": File(b"a"), "c": Dir({"1": File(b"1"), "3": File(b"3")}), "e": File(b"same")})
    build(on_tmpfs / "two", {"b": File(b"b"), "c": Dir({"2": File(b"2")}), "e": File(b"same"), "f": File(b"f")})
    copy("one/", "two/", "one", "-fl", "list", "-nhfl", cwd=on_tmpfs)
    assert lines_of((on_tmpfs / "list").read_bytes()) == [
        b"./", b"a", b"b", b"c/", b"c/1", b"c/2", b"c/3", b"e", b"f",
        b"one/", b"one/a", b"one/c/", b"one/c/1", b"one/c/3", b"one/e",
    ]  # fmt: skip


def test_excluded_entries_and_stages_are_left_out(src: Path) -> None:
    build(src / ".hpcp-mpi.01234567.1.1", {"half": File(b"h")})
    os.chmod(src / ".hpcp-mpi.01234567.1.1", 0o1700)
    file = src.parent / "list"
    copy(f"{src}/", "-fl", file, "-e", "B2", "-e", "*/y *", "-e", f"{src}/a1")
    excluded = {line for line in expected(src) if line.startswith((b"B2/", b"b.d/y ", b"a1:", STAGE))}
    assert len(excluded) > 30
    assert set(lines_of(file.read_bytes())) == expected(src) - excluded


def test_a_missing_source_is_refused_and_the_old_list_stays(src: Path) -> None:
    file = src.parent / "list"
    file.write_text("old")
    refused(src, src / "missing", "-fl", file, says="missing: No such file")
    assert file.read_text() == "old"


# --- ranks


@needs_root
@each_world((2, 4))
def test_the_list_is_the_same_for_any_number_of_ranks(world: World, on_tmpfs: Path) -> None:
    torture(on_tmpfs / "src", as_root=True)
    build(
        on_tmpfs / "src" / "more", {f"d{at}": Dir({f"f{name}": File(b"f") for name in range(at)}) for at in range(60)}
    )
    wanted = made(f"{on_tmpfs}/src/", on_tmpfs / "list")
    done = copy(f"{on_tmpfs}/src/", "-fl", on_tmpfs / "other", world=world)
    assert (on_tmpfs / "other").read_bytes() == wanted
    assert done.report["verb"] == "list"
    found = done.report["found"]
    assert sum(found[kind] for kind in ("files", "directories", "links", "other")) == wanted.count(b"\n")


@pytest.mark.parametrize("hashes", [True, False])
def test_whoever_names_what_the_list_is_the_same(src: Path, monkeypatch: pytest.MonkeyPatch, hashes: bool) -> None:
    """No time at all: everything is handed on. And huge directories come in lots of five."""
    wanted = made(f"{src}/", src.parent / "list", hashes=hashes)
    monkeypatch.setattr(naming, "_SECONDS", 0)
    monkeypatch.setattr(naming, "_HASHED", 3)
    assert made(f"{src}/", src.parent / "list", hashes=hashes) == wanted
    monkeypatch.setattr(naming, "_PART", 10)
    for lot in 1, 5, 8:
        monkeypatch.setattr(naming, "HUGE", lot)
        monkeypatch.setattr(list_files, "HUGE", lot)
        monkeypatch.setattr(list_files, "_SOME", 3)
        assert made(f"{src}/", src.parent / "list", hashes=hashes) == wanted


def test_huge_directories_end_in_NUL_too(src: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = made(f"{src}/", src.parent / "list", nul=True)
    monkeypatch.setattr(naming, "HUGE", 4)
    monkeypatch.setattr(list_files, "HUGE", 4)
    assert made(f"{src}/", src.parent / "list", nul=True) == wanted


# --- where it is written


def test_a_list_in_the_tree_does_not_name_itself(src: Path) -> None:
    wanted = made(f"{src}/", src.parent / "list")
    before = state(src / "B2")
    for _ in range(2):
        assert made(f"{src}/", src / "b" / "list") == wanted
        assert made(src.parent / "src", src / "list").count(b"list") == 1  # b/list, that of another run
        (src / "list").unlink()
    assert state(src / "B2") == before
    assert not [path for path in find(src) if STAGE in path]


def test_standard_output_gets_the_list_and_nothing_else(src: Path) -> None:
    done = PLAIN.run([f"{src}/", "-fl", "-", "-nhfl"]).check()
    assert done.stdout.encode("utf-8", "surrogateescape") == made(f"{src}/", src.parent / "list", hashes=False)


def test_what_is_no_file_is_written_to_as_it_is(src: Path) -> None:
    copy(src, "-fl", "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_list_replaces_an_old_one_in_one_step_and_keeps_its_mode(src: Path) -> None:
    file = src.parent / "list"
    file.write_text("old")
    file.chmod(0o640)
    with open(file) as old:
        made(f"{src}/", file)
        assert old.read() == "old"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert sorted(path.name for path in src.parent.iterdir()) == ["list", "src"]


@pytest.mark.parametrize(("file", "says"), [("missing/list", "no directory"), ("src", "it is a directory")])
def test_a_list_that_cannot_be_written_is_refused_before_the_tree_is_read(src: Path, file: str, says: str) -> None:
    refused("src", "-fl", file, says=says, cwd=src.parent)


def test_without_room_for_the_list_the_old_one_stays(src: Path) -> None:
    refused(f"{src}/", "-fl", "/dev/full", says="cannot write the list to /dev/full: No space left", code=(1,))


# --- what goes wrong


@needs_root
def test_what_cannot_be_read_is_listed_and_named_and_everything_else_goes_on(
    everyone: Callable[[Path], Path], on_tmpfs: Path
) -> None:
    build(on_tmpfs / "src", TREE)
    everyone(on_tmpfs)
    src = on_tmpfs / "src"
    for name in ("B2", "a1", "A3"):
        os.chown(src / name, 0, 0)
        (src / name).chmod(0)
    file = on_tmpfs / "list"
    done = copy(f"{src}/", "-fl", file, user="nobody", code=23)
    assert done.failures == {
        f"{src}/B2": "cannot list: Permission denied",
        f"{src}/a1": "cannot read: Permission denied",
    }  # an empty file need not be read
    wanted = {line for line in expected(src) if not line.startswith((b"B2/", b"a1:"))} | {b"B2/", b"a1:"}
    assert set(lines_of(file.read_bytes())) == wanted


def test_what_vanishes_meanwhile_is_no_line(src: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = set(lines_of(made(f"{src}/", src.parent / "list")))
    values_of = Values.of

    def vanishing(*args: object) -> object:
        (src / "a1").unlink(missing_ok=True)
        return values_of(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Values, "of", vanishing)
    report = listed(f"{src}/", src.parent / "list")
    assert [(each.path, each.vanished) for each in report.failures] == [(os.fsencode(src / "a1"), True)]
    assert report.exit_code == 24
    lines = set(lines_of((src.parent / "list").read_bytes()))
    assert {line.partition(b":")[0] for line in wanted - lines} == {b"a1"} and lines < wanted


@needs_fuse
def test_input_errors_are_named_and_everything_else_is_listed(src: Path) -> None:
    with faultfs.mounted(src, eio_read="a02", eio_list="B2") as mount:
        report = listed(f"{mount}/", src.parent / "list")
    reasons = {os.path.basename(each.path): each.reason for each in report.failures}
    assert reasons == {b"a02": "cannot read: Input/output error", b"B2": "cannot list: Input/output error"}
    assert report.exit_code == 23
    wanted = {line for line in expected(src) if not line.startswith((b"B2/", b"a02:"))} | {b"B2/", b"a02:"}
    assert set(lines_of((src.parent / "list").read_bytes())) == wanted


@needs_fuse
def test_where_every_call_takes_long_the_list_is_the_same(src: Path) -> None:
    wanted = made(f"{src}/", src.parent / "list")
    with faultfs.mounted(src, meta_us=1000) as mount:
        assert made(f"{mount}/", src.parent / "list") == wanted


@needs_fuse
def test_a_signal_leaves_the_old_list_and_nothing_beside_it(src: Path) -> None:
    file = src.parent / "list"
    file.write_text("old")
    with faultfs.mounted(src, meta_us=100_000) as mount, PLAIN.start([f"{mount}/", "-fl", file]) as running:
        running.wait_for("list .*1 rank ")
        running.signal(signal.SIGINT)
        assert running.finish().returncode == 130
    assert file.read_text() == "old"
    assert sorted(path.name for path in src.parent.iterdir()) == ["list", "src"]
