"""Comparing two directories, as users do: what is printed, what it ends with, and that nothing is written."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hpcp_mpi.host.abilities import step_of
from hpcp_mpi.vocab.paths import printable
from tests.operations.copy.test_untouched import LISTINGS, WRITING, writes
from tests.support.comparing import compared, groups
from tests.support.copies import PLAIN, Copied, copy, refused, state
from tests.support.effort import each_value
from tests.support.launch import World, command_line
from tests.support.marks import each_world, needs_commands, needs_root
from tests.support.torture import NAMES, torture
from tests.support.trees import Dir, Fifo, File, HardLink, Socket, Symlink, build

T = 1_600_000_000 * 10**9
SAME = {"same": File(b"s", mtime_ns=T), "d": Dir({"f": File(b"f", mtime_ns=T)}, mtime_ns=T)}
NEW = {
    **SAME, "new": File(b"n"), "sub": Dir({"x": File(b"1", mtime_ns=T)}, mtime_ns=T),
    "ln": Symlink("a", mtime_ns=T), "mode": File(b"m", mode=0o600, mtime_ns=T), "was-dir": File(b"w"),
}  # fmt: skip
OLD = {
    **SAME, "sub": Dir({"x": File(b"2", mtime_ns=T)}, mtime_ns=T), "ln": Symlink("b", mtime_ns=T),
    "mode": File(b"m", mode=0o644, mtime_ns=T), "was-dir": Dir({"z": File(b"z")}),
    "gone": Dir({"deep": Dir({"f": File(b"f")})}), "stale\n": File(b"s"),
}  # fmt: skip
LINES = """\
Added (in the source, not in the destination): 2
new
was-dir
Modified: 3
cLc........ ln
.f...p..... mode
>fc........ sub/x
Deleted (in the destination, not in the source): 6
gone/
gone/deep/
gone/deep/f
stale\\n
was-dir/
was-dir/z
"""


@pytest.fixture
def pair(on_tmpfs: Path) -> tuple[Path, Path]:
    new, old = on_tmpfs / "new", on_tmpfs / "old"
    for root, tree in ((new, NEW), (old, OLD)):
        build(root, tree)
        os.utime(root, ns=(T, T))
    return new, old


def compare(*args: Any, code: int, world: World = PLAIN, **setting: Any) -> Copied:
    return copy(*args, "-cfl", world=world, code=code, **setting)


@each_value
@each_world((3,))
@LISTINGS
def test_three_groups_are_shown_and_counted(world: World, listing: tuple[str, ...], pair: tuple[Path, Path]) -> None:
    new, old = pair
    before = state(new), state(old)
    found = compare(new, "-d", old, *listing, world=world, code=3)
    assert found.done.stdout == LINES
    assert found.report["verb"] == "compare"
    assert found.report["differences"] == {"added": 2, "modified": 3, "deleted": 6}
    assert found.report["paths"]["deleted"] == [
        "gone/", "gone/deep/", "gone/deep/f", "stale\\n", "was-dir/", "was-dir/z"
    ]  # fmt: skip
    assert before == (state(new), state(old))
    assert not re.search("copied|would copy|hard links made", found.done.stdout + found.done.stderr)


@LISTINGS
@pytest.mark.parametrize("hashes", [("-hs", "0"), (), ("-fh",)], ids=["lstat", "tails", "whole"])
def test_a_copy_is_equal(hashes: tuple[str, ...], listing: tuple[str, ...], on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    torture(src, as_root=os.geteuid() == 0, beyond_path_max=True)
    copy(src, dst)
    found = compare(src, dst, *hashes, *listing, code=0)
    assert found.report["differences"] == {"added": 0, "modified": 0, "deleted": 0}
    assert found.failures == {}


def test_where_things_land_is_where_a_copy_puts_them(pair: tuple[Path, Path], on_tmpfs: Path) -> None:
    new, old = pair
    both = on_tmpfs / "both"
    copy(new, old, "-d", f"{both}/")
    assert compare(new, "-d", f"{both}/", code=0).report["differences"]["deleted"] == 0
    assert compare(new, old, "-d", both, code=0).failures == {}
    assert compare(new, "-d", both, code=3).report["differences"]["deleted"] > 0
    assert compare(new / "new", "-d", both / "new" / "new", code=0).report["found"]["files"] == 1
    (both / "more").write_text("")
    assert compare(new, old, "-d", both, code=0).failures == {}  # what lies beside several sources is nobody's


def test_with_hs_0_content_is_not_compared(pair: tuple[Path, Path]) -> None:
    found = compare(*pair, "-hs", "0", code=3).report["paths"]["modified"]
    assert "sub/x" not in found and "mode" in found


def test_what_is_excluded_is_on_neither_side(pair: tuple[Path, Path]) -> None:
    found = compare(*pair, "-e", "gone", "-e", "z", "-e", "new", code=3).report["paths"]
    assert found["deleted"] == ["stale\\n", "was-dir/"]
    assert found["added"] == ["was-dir"]


@LISTINGS
def test_what_is_excluded_in_a_directory_that_only_the_destination_has_is_not_told(
    listing: tuple[str, ...], pair: tuple[Path, Path]
) -> None:
    found = compare(*pair, "-e", "deep", *listing, code=3).report["paths"]
    assert found["deleted"] == ["gone/", "stale\\n", "was-dir/", "was-dir/z"]


def test_every_name_is_told(on_tmpfs: Path) -> None:
    new, old = on_tmpfs / "new", on_tmpfs / "old"
    build(new, {"d": Dir({name: File(b"1", mtime_ns=T) for name in NAMES})})
    build(old, {"d": Dir({name: File(b"2", mtime_ns=T) for name in NAMES}), "e": Dir(dict.fromkeys(NAMES, Fifo()))})
    found = groups(compared(new, old))
    assert found["modified"] >= {b"d/" + name for name in NAMES}
    assert found["deleted"] == {b"e/", *(b"e/" + name for name in NAMES)}
    lines = compare(new, old, code=3).done.stdout.splitlines()
    assert [line for line in lines if line.startswith("e/")] == [
        "e/", *(printable(name) for name in sorted(b"e/" + name for name in NAMES))
    ]  # fmt: skip


def test_a_socket_is_noted_and_not_compared(on_tmpfs: Path) -> None:
    build(on_tmpfs / "new", {"s": Socket()})
    build(on_tmpfs / "old", {})
    os.utime(on_tmpfs / "new", ns=(T, T)), os.utime(on_tmpfs / "old", ns=(T, T))
    assert list(compare(on_tmpfs / "new", on_tmpfs / "old", code=0).notes.values()) == ["a socket; not copied"]


@pytest.mark.parametrize("destination", ["missing", "missing/", "old/"])
def test_there_must_be_something_to_compare_with(destination: str, pair: tuple[Path, Path], on_tmpfs: Path) -> None:
    refused(pair[0], "-d", f"{on_tmpfs}/{destination}", "-cfl", says="nothing at .* to compare with", code=[1])
    assert sorted(os.listdir(on_tmpfs)) == ["new", "old"]


@needs_root
@LISTINGS
@pytest.mark.parametrize("side", ["new", "old"])
def test_what_cannot_be_read_is_named_and_makes_it_23(
    side: str, listing: tuple[str, ...], on_tmpfs: Path, everyone: Any
) -> None:
    tree = {"f": File(b"f", mtime_ns=T), "d": Dir({"g": File(b"g", mtime_ns=T)}, mtime_ns=T), **SAME}
    for name in ("new", "old"):
        everyone(on_tmpfs / name)
        build(on_tmpfs / name, tree, owner=(65534, 65534))
        os.utime(on_tmpfs / name, ns=(T, T))
    secret = on_tmpfs / side
    for name in ("f", "d"):
        os.chmod(secret / name, 0)
    found = compare(on_tmpfs / "new", on_tmpfs / "old", *listing, code=23, user="nobody")
    assert {Path(path).name for path in found.failures} == {"f", "d"}
    assert all("Permission denied" in reason for reason in found.failures.values())
    assert found.report["differences"]["added"] == found.report["differences"]["deleted"] == 0


@needs_commands("strace")
@LISTINGS
def test_no_system_call_even_tries_to_write_to_either_tree(
    listing: tuple[str, ...], pair: tuple[Path, Path], on_tmpfs: Path
) -> None:
    new, old = pair
    build(new / "more", {"a": File(b"a"), "b": HardLink("a")})
    copy(new / "more", old / "more")
    os.utime(old, ns=(T + 1, T + 1))
    log, table = on_tmpfs / "strace", on_tmpfs / "table"
    command, environment = command_line(["-dfl", table, *listing, new, old], flavour="plain")
    tracing = ["strace", "-f", "-y", "-qq", "-e", f"trace={WRITING}", "-o", log]
    done = subprocess.run([*tracing, *command], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr
    lines = [line for line in log.read_text().splitlines() if " resumed>" not in line]
    inside = [line for line in lines if any(os.fspath(root) in line for root in (new, old))]
    assert inside and [line for line in inside if writes(line)] == []


@pytest.mark.parametrize(("stamps", "step"), [
    ([T + 123_456_789], 1), ([T + 100], 100), ([T, T + 10**9], 10**9), ([T], 2 * 10**9), ([T + 10**7, T], 10**7),
])  # fmt: skip
def test_what_a_file_system_stores_is_seen_by_the_stamps_it_has(stamps: list[int], step: int) -> None:
    assert step_of(stamps) == step


# --- files of changes


def test_the_automatic_name_is_hpcps(pair: tuple[Path, Path], on_tmpfs: Path) -> None:
    for options, end in ((("-dfl",), "file_list"), (("-tdfl",), "tar_file_list")):
        place = on_tmpfs / end
        place.mkdir()
        compare(pair[0], "-d", pair[1], *options, code=3, cwd=place)
        (name,) = os.listdir(place)
        assert re.fullmatch(rf"DIFF_new_TO_old_\d+_{end}\.txt", name)


def test_a_table_replaces_an_old_one_in_one_step_and_is_written_also_when_nothing_differs(
    pair: tuple[Path, Path], on_tmpfs: Path
) -> None:
    table = on_tmpfs / "lists" / "table"
    table.parent.mkdir()
    table.write_text("old")
    copy(pair[0], on_tmpfs / "copy")
    inode = table.stat().st_ino
    copy(pair[0], on_tmpfs / "copy", "-dfl", table, code=0)
    assert table.read_text() == "#hpcp-changes\t1\n#op\tpath\told\tnew\n"
    assert table.stat().st_ino != inode and os.listdir(table.parent) == ["table"]


def test_a_table_that_lands_in_a_compared_tree_is_noted(pair: tuple[Path, Path]) -> None:
    found = copy(*pair, "-dfl", pair[1] / "table", code=3)
    assert any("the next compare will find it" in note for note in found.notes.values())
    assert "table" not in (pair[1] / "table").read_text()


@pytest.mark.parametrize("place", [os.devnull, "a-directory", "missing/table"])
def test_what_is_no_place_for_a_table_is_refused_before_anything_is_read(
    place: str, pair: tuple[Path, Path], on_tmpfs: Path
) -> None:
    (on_tmpfs / "a-directory").mkdir()
    refused(*pair, "-dfl", on_tmpfs / place, "-cfl")
    assert not (on_tmpfs / "missing").exists()


def test_what_vanishes_is_unknown_in_the_table(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from hpcp_mpi.operations.compare import changes_file

    real = changes_file.States

    def and_then(*args: Any) -> Any:
        (pair[0] / "new").unlink()
        return real(*args)

    monkeypatch.setattr(changes_file, "States", and_then)
    table = pair[0].with_name("table")
    report = compared(*pair, to=table)
    assert b"A\tnew\t-\t?\n" in table.read_bytes()
    assert [failure.path for failure in report.failures] == [os.fsencode(pair[0] / "new")] and report.exit_code == 24


def test_json_is_the_same_as_the_lines(pair: tuple[Path, Path], on_tmpfs: Path) -> None:
    report = on_tmpfs / "report"
    done = PLAIN.run(["--json", report, "-cfl", *pair])
    paths = json.loads(report.read_text())["paths"]
    assert sum(len(group) for group in paths.values()) == len(LINES.splitlines()) - 3
    assert all(path in done.stdout for group in paths.values() for path in group)


def test_two_trees_of_links_and_files_are_told_apart_by_type(on_tmpfs: Path) -> None:
    new, old = on_tmpfs / "new", on_tmpfs / "old"
    build(new, {"a": Symlink("x"), "b": Dir({"x": File(b"")}), "c": Fifo(), "d": File(b"")})
    build(old, {"a": File(b""), "b": Symlink("x"), "c": Dir({"y": File(b"")}), "d": Fifo()})
    found = groups(compared(new, old))
    assert found["added"] == {b"a", b"b/", b"b/x", b"c", b"d"}
    assert found["deleted"] == {b"a", b"b", b"c/", b"c/y", b"d"}


@LISTINGS
def test_all_names_of_a_file_that_changed_are_modified(listing: tuple[str, ...], on_tmpfs: Path) -> None:
    new, old = on_tmpfs / "new", on_tmpfs / "old"
    for root, content in ((new, b"1"), (old, b"2")):
        build(root, {"a": File(content, mtime_ns=T), "b": HardLink("a"), "c": File(b"", mtime_ns=T)})
        os.utime(root, ns=(T, T))
    assert compare(new, old, *listing, code=3).report["paths"]["modified"] == ["a", "b"]


@LISTINGS
def test_names_that_are_not_of_one_file_as_in_the_source_are_modified(listing: tuple[str, ...], on_tmpfs: Path) -> None:
    new, old = on_tmpfs / "new", on_tmpfs / "old"
    for root, pairs in ((new, ("ab", "cd")), (old, ("ac", "bd"))):
        for one, other in pairs:
            build(root, {one: File(b"1", mtime_ns=T)})
            os.link(root / one, root / other)
        os.utime(root, ns=(T, T))
    modified = compare(new, old, *listing, code=3).report["paths"]["modified"]
    assert modified and set(modified) < {"a", "b", "c", "d"}
