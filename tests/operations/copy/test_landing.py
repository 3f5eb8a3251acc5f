"""Sources land where the command line says, or nothing is done at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support import oracle
from tests.support.copies import PLAIN, changed, copy, refused, state
from tests.support.launch import World
from tests.support.marks import needs_commands
from tests.support.trees import Dir, File, HardLink, Symlink, build

pytestmark = needs_commands("rsync", "cmp")


@pytest.fixture
def here(on_tmpfs: Path) -> Path:
    """A working directory with some sources."""
    build(on_tmpfs, {
        "src": Dir({"f": File(b"f", mtime_ns=5), "sub": Dir({"g": File(b"g")}, mtime_ns=7), "empty": Dir()},
                   mode=0o750, mtime_ns=9),
        "other": Dir({"h": File(b"h"), "sub": Dir({"i": File(b"i")})}),
        "file": File(b"file", mode=0o640, mtime_ns=11),
        "file2": File(b"two"),
        "dirlink": Symlink("src"),
        "existing": Dir({"already": File(b"here")}),
    })  # fmt: skip
    return on_tmpfs


def same(one: Path, other: Path) -> None:
    """Two files that are equal in content and lstat."""
    assert one.read_bytes() == other.read_bytes()
    a, b = os.lstat(one), os.lstat(other)
    assert (a.st_mode, a.st_mtime_ns, a.st_uid) == (b.st_mode, b.st_mtime_ns, b.st_uid)


# What is typed, and where the tree `src` is found then.
DIRECTORY = [
    (["src", "-d", "new"], "new"),
    (["src", "-d", "existing"], "existing"),
    (["src", "new"], "new"),
    (["src", "-C", "new"], "new"),
    (["src/", "-d", "new"], "new"),
    (["src/", "-d", "new/"], "new"),
    (["src/", "existing/"], "existing"),
    (["src", "-d", "new/"], "new/src"),
    (["src", "-d", "existing/"], "existing/src"),
    (["src", "new/"], "new/src"),
    (["src", "-d", "deep/er/new"], "deep/er/new"),
    (["src", "-d", "deep/er/new/"], "deep/er/new/src"),
    (["./src", "-d", "./new"], "new"),
    (["other/../src", "-d", "other/../new/"], "new/src"),
    (["src/.", "-d", "new"], "new"),
    (["dirlink/", "-d", "new"], "new"),
    (["dirlink", "-d", "new"], "new"),
]


@pytest.mark.parametrize("typed, place", DIRECTORY, ids=[" ".join(typed) for typed, _ in DIRECTORY])
def test_a_directory_lands(typed: list[str], place: str, here: Path) -> None:
    copy(*typed, cwd=here)
    # With contents that land in what was there before, the others stay.
    oracle.assert_equal_trees(here / "src", here / place, exclude=["already"])
    if place == "new":
        assert sorted(os.listdir(here / "new")) == sorted(os.listdir(here / "src"))
    assert (here / "existing/already").read_bytes() == b"here"


FILE = [
    (["file", "-d", "new"], "new"),
    (["file", "new"], "new"),
    (["file", "-d", "existing"], "existing/file"),
    (["file", "existing/"], "existing/file"),
    (["file", "-d", "new/"], "new/file"),
    (["file", "-d", "deep/new/"], "deep/new/file"),
    (["file", "-d", "deep/new"], "deep/new"),
    (["file", "-d", "file2"], "file2"),
    (["file", "-d", "existing/already"], "existing/already"),
]


@pytest.mark.parametrize("typed, place", FILE, ids=[" ".join(typed) for typed, _ in FILE])
def test_a_file_lands(typed: list[str], place: str, here: Path) -> None:
    copy(*typed, cwd=here)
    same(here / "file", here / place)
    before = state(here)
    copy(*typed, cwd=here)
    assert changed(before, state(here)) <= {b"."}


def test_a_link_to_a_directory_lands_below_as_a_link(here: Path) -> None:
    copy("dirlink", "-d", "out/", cwd=here)
    assert os.readlink(here / "out/dirlink") == "src"


def test_several_sources_land_under_their_names(here: Path) -> None:
    copy("src", "other", "file", "-d", "m", cwd=here)
    assert sorted(os.listdir(here / "m")) == ["file", "other", "src"]
    oracle.assert_equal_trees(here / "src", here / "m/src")
    oracle.assert_equal_trees(here / "other", here / "m/other")
    same(here / "file", here / "m/file")


def test_the_last_of_several_arguments_is_the_destination(here: Path) -> None:
    copy("file", "file2", "m", cwd=here)
    assert sorted(os.listdir(here / "m")) == ["file", "file2"]


def test_contents_of_several_sources_are_merged(here: Path) -> None:
    copy("src/", "other/", "-d", "m", cwd=here)
    assert sorted(os.listdir(here / "m")) == ["empty", "f", "h", "sub"]
    assert sorted(os.listdir(here / "m/sub")) == ["g", "i"]
    same(here / "src/f", here / "m/f")
    before = state(here / "m")
    assert copy("src/", "other/", "-d", "m", cwd=here).copied_entries == 0
    assert changed(before, state(here / "m")) == set()


def test_hard_links_between_merged_sources_are_kept(here: Path) -> None:
    os.link(here / "src/f", here / "other/twin")
    os.link(here / "src/f", here / "third")
    copy("src", "other", "third", "-d", "m", cwd=here)
    inodes = {os.stat(here / "m" / name).st_ino for name in ("src/f", "other/twin", "third")}
    assert len(inodes) == 1


def test_an_existing_name_is_taken_literally_and_only_then_as_a_pattern(here: Path) -> None:
    build(here / "g", {"a[1]": Dir({"literal": File(b"l")}), "a1": Dir({"match": File(b"m")}), "b1": File(b"b")})
    copy("g/a[1]", "-d", "one/", cwd=here)
    assert os.listdir(here / "one") == ["a[1]"]
    shutil.rmtree(here / "g/a[1]")
    copy("g/a[1]", "-d", "two/", cwd=here)
    assert os.listdir(here / "two") == ["a1"]
    copy("g/*1", "-d", "three", cwd=here)
    assert sorted(os.listdir(here / "three")) == ["a1", "b1"]


REFUSED = [
    (["missing", "-d", "new"], "missing"),
    (["src", "missing", "-d", "new"], "missing"),
    (["no*match", "-d", "new"], "no\\*match"),
    (["src", "nosuch*", "-d", "new"], "nosuch"),
    (["src/sub", "other/sub", "-d", "new"], "both land on sub"),
    (["file", "existing/../file", "-d", "new"], "both land on file"),
    (["src", "src", "-d", "new"], "both land"),
    (["src/", "clash/", "-d", "new"], "both land on f"),
    (["src", "-d", "src"], "is the source and the destination"),
    (["src/", "-d", "dirlink"], "is the source and the destination"),
    (["file", "-d", "file"], "is the source and the destination"),
    (["src", "-d", "./"], "is the source and the destination"),
    (["file", "."], "is the source and the destination"),
    (["src", "-d", "src/new"], "lies inside the source"),
    (["src", "-d", "src/sub/"], "lies inside the source"),
    (["src", "-d", "dirlink/new"], "lies inside the source"),
    (["src/sub", "-d", "src"], "lies inside the destination"),
    (["src", "-d", "file"], "not a directory"),
    (["src", "other", "-d", "file"], "not a directory"),
    (["src", "-d", "file/new"], "(?i)not a directory"),
    (["file2", "-d", "file/"], "not a directory"),
    (["src"], "destination"),
    ([], "SRC DST"),
    (["-d", "new"], "source"),
    (["src", "-d", ""], "empty"),
    (["", "-d", "new"], ""),
    (["src", "-x", "nosuch", "-d", "new"], "exclude file"),
    (["src", "-d", "new", "--sparse", "perhaps"], "sparse"),
]


@pytest.mark.parametrize("typed, says", REFUSED, ids=[" ".join(typed) for typed, _ in REFUSED])
def test_what_cannot_be_meant_is_refused_and_nothing_is_done(typed: list[str], says: str, here: Path) -> None:
    build(here / "clash", {"f": File(b"another f")})
    before = state(here)
    refused(*typed, cwd=here, says=says)
    assert changed(before, state(here)) == set()


def test_a_destination_inside_the_source_is_allowed_when_it_is_excluded(here: Path) -> None:
    copy("src", "-d", "src/backup", "-e", "backup", cwd=here)
    assert sorted(os.listdir(here / "src/backup")) == ["empty", "f", "sub"]
    assert copy("src", "-d", "src/backup", "-e", "backup", cwd=here).copied_entries == 0
    assert not (here / "src/backup/backup").exists()


def test_a_destination_that_is_a_link_to_a_directory_is_followed_since_the_user_named_it(here: Path) -> None:
    (here / "to-existing").symlink_to("existing")
    copy("src", "-d", "to-existing", cwd=here)
    assert (here / "to-existing").is_symlink()
    oracle.assert_equal_trees(here / "src", here / "existing", exclude=["already"])


def test_a_file_over_an_empty_directory_replaces_it(here: Path) -> None:
    build(here / "new", {"f": Dir()})
    copy("src", "-d", "new", cwd=here)
    oracle.assert_equal_trees(here / "src", here / "new")


@pytest.mark.parametrize("chunks", [(), ("-f", "1", "--chunk-size", "1")], ids=["chunks", "tiny-chunks"])
def test_a_file_or_link_over_a_full_directory_fails_and_leaves_it_alone(chunks: tuple[str, ...], here: Path) -> None:
    (here / "src/link").symlink_to("f")
    full = Dir({"precious": File(b"p"), "sub": Dir({"deep": File(b"d")})})
    build(here / "new", {"f": full, "link": full})
    before = {name: state(here / "new" / name) for name in ("f", "link")}
    run = copy("src", "-d", "new", *chunks, cwd=here, code=23)
    assert set(run.failures) == {f"{here}/src/f", f"{here}/src/link"}
    assert all("directory that is not empty is in the way" in reason for reason in run.failures.values())
    assert {name: state(here / "new" / name) for name in before} == before
    oracle.assert_equal_trees(here / "src", here / "new", exclude=["f", "link"])


@pytest.mark.parametrize("name", ["dangling", "to-file", "to-directory"])
@pytest.mark.parametrize("source", ["file", "sub/"])
def test_nothing_is_written_through_a_link_at_the_destination(source: str, name: str, here: Path) -> None:
    target = {"dangling": "nowhere", "to-file": "victim", "to-directory": "victims"}[name]
    build(here / "outside", {"victim": File(b"v"), "victims": Dir({"g": File(b"v")})})
    build(here / "s", {"x": File(b"content") if source == "file" else Dir({"g": File(b"content")})})
    build(here / "new", {"x": Symlink(f"../outside/{target}")})
    before = state(here / "outside")
    if source != "file":
        copy("s", "-d", "new", cwd=here, code=23)
        assert state(here / "outside") == before and (here / "new/x").is_symlink()
    copy("s", "-d", "new", "--backup-dir", "../backup", cwd=here)
    assert state(here / "outside") == before
    oracle.assert_equal_trees(here / "s", here / "new")


def test_a_file_that_is_hard_linked_elsewhere_is_replaced_not_written(here: Path) -> None:
    build(here / "new", {"f": File(b"old"), "elsewhere": HardLink("f")})
    copy("src", "-d", "new", cwd=here)
    assert (here / "new/elsewhere").read_bytes() == b"old"
    assert (here / "new/f").read_bytes() == b"f"


def test_a_source_file_over_its_own_hard_link_does_no_harm(here: Path) -> None:
    os.link(here / "file", here / "existing/file")
    copy("file", "-d", "existing", cwd=here)
    assert (here / "existing/file").read_bytes() == (here / "file").read_bytes() == b"file"


def test_the_same_without_mpi(here: Path) -> None:
    copy("src", "new/", cwd=here, world=World("nompi"))
    copy("src", "new2/", cwd=here, world=PLAIN)
    oracle.assert_equal_trees(here / "new", here / "new2", top=False)
