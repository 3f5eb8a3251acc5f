"""-sfl: copies what a list names, each entry to its place, as `rsync --files-from` does, which is the judge."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcp_mpi.formats.file_list import Entry, Type, written
from hpcp_mpi.operations.copy.from_list import rank0 as copy_listed
from hpcp_mpi.operations.copy.from_list import scan as listed_scan
from hpcp_mpi.operations.session import run
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Style, Verb
from tests.support import oracle
from tests.support.copies import PLAIN, changed, copy, refused, state
from tests.support.effort import many
from tests.support.launch import Argument, World
from tests.support.lists import find, made, run_with_input
from tests.support.marks import each_world, needs_commands, needs_root
from tests.support.small_trees import Tree, trees
from tests.support.torture import SOCKETS, torture
from tests.support.trees import Dir, File, HardLink, Name, Node, Symlink, build

pytestmark = needs_commands("rsync")
OLD = 1_000_000_000 * 10**9
TREE: dict[Name, Node] = {
    "a": File(b"a", mtime_ns=OLD, mode=0o640),
    "d": Dir(
        {
            "e": Dir({"f": File(b"f", mtime_ns=OLD), "twin": HardLink("a")}, mode=0o711, mtime_ns=OLD + 1),
            "g": File(b"g"),
            "link": Symlink("../a", mtime_ns=OLD),
            "empty": Dir(mode=0o700, mtime_ns=OLD),
        },
        mode=0o750,
        mtime_ns=OLD + 2,
    ),
    "d-e": Dir({"h": File(b"h")}, mtime_ns=OLD + 3),
    "out": Symlink("d"),
}


@pytest.fixture
def src(on_tmpfs: Path) -> Path:
    build(on_tmpfs / "src", TREE)
    os.utime(on_tmpfs / "src", ns=(OLD, OLD))
    return on_tmpfs / "src"


def named(place: Path, names: Iterable[bytes], end: bytes = b"\n") -> Path:
    (place / "list").write_bytes(b"".join(name + end for name in names))
    return place / "list"


def copied(file: Argument, src: Path, dst: Path, *, nul: bool = False, **options: object) -> Report:
    """Copy in this process, whose limits a test may have lowered."""
    request = Request(
        Verb.COPY,
        (os.fsencode(src),),
        (os.fsencode(dst),),
        Options(**options),  # type: ignore[arg-type]
        source_list=os.fsencode(file),
        nul=nul,
    )
    return run(request, {})


def rsynced(src: Path, names: Iterable[bytes], dst: Path) -> Path:
    """What rsync makes of a list."""
    command = ["rsync", "-aHAXS", "-0", "--files-from=-", f"{src}/", f"{dst}/"]
    done = subprocess.run(command, input=b"".join(name + b"\0" for name in names), capture_output=True)
    assert done.returncode in (0, 23), done.stderr
    return dst


# --- there and back


@needs_root
@pytest.mark.parametrize("style", list(Style))
def test_a_tree_with_every_name_there_can_be_comes_back_from_its_list(on_tmpfs: Path, style: Style) -> None:
    src = on_tmpfs / "src"
    torture(src, as_root=True)
    file = on_tmpfs / "list"
    made(f"{src}/", file, hashes=style is Style.HASHES, nul=style is Style.NUL, hash_size=0)
    options = {Style.HASHES: (), Style.NAMES: ("-nhfl",), Style.NUL: ("-0",)}[style]
    done = copy("-sfl", file, *options, src, "-d", on_tmpfs / "dst")
    oracle.assert_equal_trees(src, on_tmpfs / "dst", sockets=False)
    assert set(done.notes) == {f"{src}/{name}" for name in SOCKETS}
    before = state(on_tmpfs / "dst")
    copy("-sfl", file, *options, src, "-d", on_tmpfs / "dst")
    assert changed(before, state(on_tmpfs / "dst")) == set()


@settings(max_examples=many(15), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trees(), trees())
def test_any_tree_comes_back_from_its_list_over_anything(tree: Tree, there: Tree) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        place = Path(name)
        build(place / "src", tree)
        made(f"{place}/src/", place / "list")
        report = copied(place / "list", place / "src", place / "new")
        assert report.failures == []
        oracle.assert_equal_trees(place / "src", place / "new")
        assert report.outcome.copied.entries + report.outcome.updated.entries == report.scanned.entries
        # What is there already is replaced; only a directory that holds something keeps its place.
        build(place / "dst", there)
        copied(place / "list", place / "src", place / "dst", backup_dir=os.fsencode(place / "backup"))
        oracle.assert_equal_trees(place / "src", place / "dst", exclude=_kept(place / "src", place / "dst"), top=False)
        subprocess.run(["chmod", "-R", "u+rwx", place], check=True)


def _kept(src: Path, dst: Path) -> set[bytes]:
    """What only the destination has, and directories there that stand in the way of files."""
    extra = find(dst) - find(src)
    return extra | {
        path
        for path in find(dst)
        if os.path.isdir(there := os.fsencode(dst) + b"/" + path) and not os.path.islink(there)
        and not os.path.isdir(own := os.fsencode(src) + b"/" + path) and os.path.lexists(own)
    }  # fmt: skip


def test_a_list_of_a_directory_by_its_name_is_relative_to_where_that_lies(src: Path) -> None:
    file = src.parent / "list"
    copy("src", "-fl", file, cwd=src.parent)
    copy("-sfl", file, "-d", "dst", cwd=src.parent)
    oracle.assert_equal_trees(src, src.parent / "dst" / "src")


# --- as rsync


@settings(max_examples=many(12), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trees(), st.data())
def test_some_of_a_tree_is_copied_as_rsync_does(tree: Tree, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        place = Path(name)
        build(place / "src", tree)
        paths = sorted(find(place / "src"))  # rsync would take what lies in `.`, too
        some = data.draw(st.lists(st.sampled_from(paths), min_size=1, max_size=8))
        judge = rsynced(place / "src", some, place / "judge")
        for attempt in "new", "again":
            report = copied(named(place, some, b"\0"), place / "src", place / "dst", nul=True)
            assert report.failures == [], attempt
            oracle.assert_equal_trees(judge, place / "dst", top=False)
        assert report.outcome.copied.entries == 0
        subprocess.run(["chmod", "-R", "u+rwx", place], check=True)


@each_world((2, 4))
def test_only_what_is_listed_is_copied_with_the_directories_it_lies_in(world: World, src: Path) -> None:
    names = [b"d/e/f", b"d/link", b"d-e", b"a", b"d/e/twin"]
    dst = src.parent / "dst"
    done = copy("-sfl", named(src.parent, names), src, "-d", dst, world=world)
    assert find(dst) == {*names, b"d", b"d/e"}
    oracle.assert_equal_trees(rsynced(src, names, src.parent / "judge"), dst, top=False)
    assert done.report["found"] == {"files": 3, "directories": 3, "links": 1, "other": 0, "bytes": 2}


def test_the_root_gets_metadata_only_if_it_is_listed(src: Path) -> None:
    dst = src.parent / "dst"
    dst.mkdir(mode=0o700)
    copy("-sfl", named(src.parent, [b"a"]), src, "-d", dst)
    assert dst.stat().st_mode & 0o777 == 0o700 and dst.stat().st_mtime_ns != OLD
    copy("-sfl", named(src.parent, [b"./", b"a"]), src, "-d", dst)
    assert dst.stat().st_mode & 0o777 == src.stat().st_mode & 0o777 and dst.stat().st_mtime_ns == OLD


def test_names_are_taken_once_however_they_are_written(src: Path) -> None:
    names = [b"./d//e/./f", b"d/e/f:0123456789abcdef", b"", b"d/e/", b"./d/e", b"a", b"a:"]
    done = copy("-sfl", named(src.parent, names), src, "-d", src.parent / "dst")
    assert find(src.parent / "dst") == {b"a", b"d", b"d/e", b"d/e/f"}
    assert done.report["copied"]["files"] == 2 and done.report["copied"]["directories"] == 2


@pytest.mark.parametrize("options", [(), ("-0",), ("-nhfl",)], ids=["lines", "nul", "names"])
def test_a_list_comes_from_standard_input_too(src: Path, options: tuple[str, ...]) -> None:
    build(src, {"10:30": File(b"t")})
    names = {(): b"d/e/f\n10\\:30:\n", ("-0",): b"d/e/f\0" + b"10:30\0", ("-nhfl",): b"d/e/f\n10:30\n"}[options]
    done = run_with_input(["-sfl", "-", *options, src, "-d", src.parent / "dst"], names)
    assert done.returncode == 0, done.stderr
    assert find(src.parent / "dst") == {b"d", b"d/e", b"d/e/f", b"10:30"}


def test_what_find_prints_is_a_list(src: Path) -> None:
    found = subprocess.run(["find", ".", "-type", "f", "-print0"], cwd=src, capture_output=True, check=True)
    done = run_with_input(["-0", "-sfl", "-", src, "-d", src.parent / "dst"], found.stdout)
    assert done.returncode == 0, done.stderr
    assert find(src.parent / "dst") == find(src) - {b"d/link", b"d/empty", b"out"}


def test_hard_links_among_the_names_stay(src: Path) -> None:
    copy("-sfl", named(src.parent, [b"d/e/twin", b"a"]), src, "-d", src.parent / "dst")
    assert (src.parent / "dst/a").samefile(src.parent / "dst/d/e/twin")


def test_what_is_identical_is_not_touched_and_what_changed_is_copied(src: Path) -> None:
    dst, file = src.parent / "dst", named(src.parent, [b"d/e/f", b"d/g", b"d/link", b"d/empty", b"./"])
    copy("-sfl", file, src, "-d", dst)
    before = state(dst)
    copy("-sfl", file, src, "-d", dst)
    assert changed(before, state(dst)) == set()
    (src / "d/g").write_bytes(b"new")
    (src / "d/empty").chmod(0o755)
    copy("-sfl", file, src, "-d", dst)
    assert changed(before, state(dst)) - {b"d"} == {b"d/g", b"d/empty"}
    assert (dst / "d").stat().st_mtime_ns == OLD + 2


def test_a_dry_run_changes_nothing_and_says_what_it_would_do(src: Path) -> None:
    done = copy("-n", "-sfl", named(src.parent, [b"d/e/f"]), src, "-d", src.parent / "dst")
    assert not (src.parent / "dst").exists()
    assert "d/e/f" in done.done.stdout and "d/g" not in done.done.stdout


def test_excluded_entries_are_left_out_with_what_is_in_them(src: Path) -> None:
    names = [b"a", b"d/e/f", b"d/e/twin", b"d/g", b"d/empty/"]
    done = copy("-sfl", named(src.parent, names), src, "-d", src.parent / "dst", "-e", "e", "-e", "g", "-e", "empty")
    assert find(src.parent / "dst") == {b"a", b"d"}
    assert done.failures == {}


def test_links_are_not_followed_to_what_is_not_listed(src: Path) -> None:
    copy("-sfl", named(src.parent, [b"d/link"]), src, "-d", src.parent / "dst")
    assert find(src.parent / "dst") == {b"d", b"d/link"}


def test_files_and_links_in_the_way_of_directories_are_replaced_where_backups_are_kept(src: Path) -> None:
    dst = src.parent / "dst"
    build(src.parent / "victim", {"f": File(b"mine")})
    build(dst, {"d": Symlink("../victim"), "d-e": File(b"file"), "a": Symlink("../victim/f")})
    names = named(src.parent, [b"d/e/f", b"d-e/", b"a"])
    done = copy("-sfl", names, src, "-d", dst, code=23)
    assert set(done.failures) == {f"{src}/d/e/f", f"{src}/d-e"}
    assert (dst / "d").is_symlink() and (dst / "d-e").read_bytes() == b"file"
    copy("-sfl", names, src, "-d", dst, "--backup-dir", src.parent / "backup")
    assert find(dst) == {b"a", b"d", b"d/e", b"d/e/f", b"d-e"}
    assert (src.parent / "backup/d-e").read_bytes() == b"file" and (src.parent / "backup/d").is_symlink()
    assert (src.parent / "victim/f").read_bytes() == b"mine" and len(find(src.parent / "victim")) == 1
    assert (dst / "d-e").is_dir() and not (dst / "a").is_symlink()


def test_the_destination_may_lie_in_the_base_and_is_not_copied_into_itself(src: Path) -> None:
    done = copy("-sfl", named(src.parent, [b"a", b"dst/x", b"dst/"]), src, "-d", src / "dst", code=23)
    assert set(done.failures) == {f"{src}/dst", f"{src}/dst/x"}
    assert find(src / "dst") == {b"a"}


# --- what is wrong with a list


def test_what_is_missing_is_named_with_its_line_and_the_rest_is_copied(src: Path) -> None:
    done = copy(
        "-sfl", named(src.parent, [b"a", b"", b"no\\n", b"d/no/f", b"d/g"]), src, "-d", src.parent / "d", code=23
    )
    assert done.failures == {
        f"{src}/no\\n": "line 3: No such file or directory",
        f"{src}/d/no/f": "line 4: cannot open the directory d/no: No such file or directory",
    }
    assert find(src.parent / "d") == {b"a", b"d", b"d/g"}


def test_a_list_for_another_directory_is_told_and_not_to_be_tried_again(src: Path) -> None:
    """Lists of DIR have names that begin with it: they are relative to where it lies."""
    listed, dst = src.with_name("list"), src.with_name("dst")
    assert PLAIN.run(["-fl", listed, src]).returncode == 0
    done = PLAIN.run(["-sfl", listed, src, "-d", dst])
    assert done.returncode == 23 and "to do again" not in done.stderr, str(done)
    (told,) = re.findall(f"^note: {listed}: none of its names is in {src}: .* before -d: (.*)$", done.stderr, re.M)
    assert told == f"-sfl LIST {src.parent} -d DST"
    PLAIN.run(told.replace("LIST", str(listed)).replace("DST", str(dst)).split()).check()
    oracle.assert_equal_trees(src, dst / src.name)
    elsewhere = PLAIN.run(["-sfl", listed, "-d", dst], cwd="/")
    assert f"none of its names is in /: name the directory that holds {src.name}, before -d" in elsewhere.stderr


def test_what_is_not_what_was_listed_is_named(src: Path) -> None:
    names = [b"a/", b"d:0123456789abcdef", b"d/g:target", b"a/b"]
    done = copy("-sfl", named(src.parent, [*names, b"d-e/h"]), src, "-d", src.parent / "dst", code=23)
    reasons = {path[len(f"{src}/") :]: reason for path, reason in done.failures.items()}
    assert reasons == {
        "a": "line 1: it was listed as a directory, and is none",
        "d": "line 2: it was listed as a file, and is a directory",
        "d/g": "line 3: it was listed as a symlink, and is none; if `:` is part of the name, give -nhfl or -0",
        "a/b": "line 4: cannot open the directory a: Not a directory",
    }
    assert (src.parent / "dst/d-e/h").exists()


def test_a_link_in_the_base_is_never_followed(src: Path) -> None:
    build(src.parent / "secret", {"f": File(b"secret")})
    (src / "way").symlink_to(src.parent / "secret")
    done = copy("-sfl", named(src.parent, [b"way/f", b"out/g", b"way"]), src, "-d", src.parent / "dst", code=23)
    assert set(done.failures) == {f"{src}/way/f", f"{src}/out/g"}
    assert find(src.parent / "dst") == {b"way"} and (src.parent / "dst/way").is_symlink()


BROKEN = [
    (b"", "the list .*list: it is empty"),
    (b"\n\n", "it is empty"),
    (b"a\nd/g", "line 2: it ends without a newline"),
    (b"a\nb\0c\n", "line 2: a NUL"),
    (b"a\nb\\q:\n", "line 2: unknown escape"),
    (b"a\n\nb:c:d\n", "line 3: a second `:`"),
    (b"a\n/etc/passwd\n", "line 2: an absolute name"),
    (b"d/../../x\n", r"line 1: a name with `\.\.`"),
    (b"a\n..\n", r"line 2: a name with `\.\.`"),
    (b"\x7fELF" + bytes(100), "line 1: a NUL"),
    (b"x" * (3 << 20), "line 1: no name is so long"),
]


@pytest.mark.parametrize(("content", "says"), BROKEN)
def test_a_broken_list_ends_the_run_before_anything_is_done(src: Path, content: bytes, says: str) -> None:
    file = src.parent / "list"
    file.write_bytes(content)
    refused("-sfl", file, src, "-d", src.parent / "dst", says=says, code=(1,))
    assert not (src.parent / "dst").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a\0d", "line 2: it ends without a NUL"),
        (b"a\0\0", "line 2: no name"),
        (b"", "empty"),
        (b"a\nb\n", "line 1: .*NUL"),
    ],
)
def test_a_broken_list_of_names_with_NULs_does_so_too(src: Path, content: bytes, says: str) -> None:
    file = src.parent / "list"
    file.write_bytes(content)
    refused("-0", "-sfl", file, src, "-d", src.parent / "dst", says=says, code=(1,))
    assert not (src.parent / "dst").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-sfl", "missing", "src", "-d", "dst"], "missing: cannot read it: No such file"),
        (["-sfl", "src", "src", "-d", "dst"], "src: cannot read it: Is a directory"),
        (["-sfl", "list", "src/a", "-d", "dst"], "src/a, .*is not a directory"),
        (["-sfl", "list", "src", "src/d", "-d", "dst"], "relative to one directory"),
        (["-sfl", "list", "src", "-d", "src"], "is the source and the destination"),
        (["-sfl", "list", "src/d", "-d", "src"], "lies inside the destination"),
        (["-sfl", "list", "src", "-d", "dst", "-rme", "-rf"], "-rme with -sfl"),
        (["-sfl", "list", "src", "-d", "dst", "-rm", "-rf"], "-rm with -sfl"),
        (["-sfl", "list", "src", "-d", "dst", "-d", "other"], "several destinations"),
        (["-sfl", "list", "src", "-rm", "-rf"], "-sfl"),
    ],
)
def test_what_has_no_meaning_with_a_list_is_refused(src: Path, words: list[str], says: str) -> None:
    named(src.parent, [b"a"])
    before = find(src.parent)
    refused(*words, says=says, cwd=src.parent)
    assert find(src.parent) == before


# --- big lists


def test_lists_that_are_not_held_in_memory_give_the_same(src: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few bytes, three records in memory, slices of two."""
    files: dict[Name, Node] = {str(number): File(b"%d" % number) for number in range(12)}
    build(src / "many", {f"n{at}": Dir(files, mtime_ns=OLD + at) for at in range(12)})
    os.utime(src / "many", ns=(OLD, OLD))
    names = [path for path in sorted(find(src), reverse=True) if b"1" in path or path.startswith(b"d")]
    judge = rsynced(src, names, src.parent / "judge")
    monkeypatch.setattr("hpcp_mpi.host.list_file._BLOCK", 7)
    monkeypatch.setattr("hpcp_mpi.host.external_sort._BLOCK", 2)
    for module in copy_listed, listed_scan:
        spill = module.ExternalSort
        monkeypatch.setattr(module, "ExternalSort", lambda spill=spill: spill(3))
    monkeypatch.setattr(listed_scan, "_SLICE", 2)
    lines = [written(Entry(name, Type.UNKNOWN), Style.NAMES) for name in names]
    report = copied(named(src.parent, lines), src, src.parent / "dst")
    assert report.failures == []
    oracle.assert_equal_trees(judge, src.parent / "dst", top=False)
    assert report.scanned.entries == len(find(src.parent / "dst"))
    shutil.rmtree(src.parent / "dst")


@needs_root
def test_a_directory_that_cannot_be_read_fails_with_all_that_was_to_come_from_it(
    everyone: Callable[[Path], Path], on_tmpfs: Path
) -> None:
    build(on_tmpfs / "src", TREE)
    file = named(on_tmpfs, [b"a", b"d/e/f", b"d/e/", b"d/g"])
    everyone(on_tmpfs)
    src = on_tmpfs / "src"
    os.chown(src / "d/e", 0, 0)
    (src / "d/e").chmod(0)
    done = copy("-sfl", file, src, "-d", on_tmpfs / "dst", user="nobody", code=23)
    assert set(done.failures) == {f"{src}/d/e/f"} | {f"{src}/d/e"} & set(done.failures)
    assert all("Permission denied" in reason and reason.startswith("line ") for reason in done.failures.values())
    assert {b"a", b"d/g"} <= find(on_tmpfs / "dst")
