"""Names of one inode stay names of one inode: across directories, chunks and sources, and when they change."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support import direct, oracle
from tests.support.copies import PLAIN, TINY_CHUNKS, changed, copy, items, state
from tests.support.effort import each_value
from tests.support.launch import World
from tests.support.marks import needs_commands, worlds
from tests.support.trees import Dir, File, HardLink, Node, build

pytestmark = needs_commands("rsync", "cmp")
T = 1_600_000_000 * 10**9
CHUNKS = pytest.mark.parametrize(
    "chunks", [(), TINY_CHUNKS, ("-pfl", *TINY_CHUNKS)], ids=["chunks", "tiny-chunks", "all-list"]
)


@each_value
@CHUNKS
@pytest.mark.parametrize("world", [*worlds(launchers=("plain",)), *worlds((2, 4), launchers=("mpich",))])
def test_links_across_directories_chunks_and_ranks(world: World, chunks: tuple[str, ...], on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    chance = random.Random(1)
    build(src, {f"d{i}": Dir({f"f{j}": File(os.urandom(100)) for j in range(5)}) for i in range(20)})
    for number in range(60):
        old = src / f"d{chance.randrange(20)}/f{chance.randrange(5)}"
        os.link(old, src / f"d{chance.randrange(20)}/link{number}")
    copy(src, dst, *chunks, world=world)
    oracle.assert_equal_trees(src, dst)
    before = state(dst)
    assert copy(src, dst, *chunks, world=world).copied_entries == 0
    assert changed(before, state(dst)) == set()


def files(groups: str) -> dict[str, Node]:
    """ "ab c" is: a and b are one inode, c is another; all of the same size, time and content."""
    tree: dict[str, Dir] = {}
    for group in groups.split():
        for name in group:
            first = name == group[0]
            tree[name] = Dir(
                {name: File(b"same", mtime_ns=T) if first else HardLink(f"{group[0]}/{group[0]}")}, mtime_ns=T
            )
    return dict(tree)


CHANGES: Mapping[str, tuple[str, str]] = {
    "split": ("ab", "a b"),
    "split-in-three": ("abc", "a b c"),
    "joined": ("a b", "ab"),
    "joined-all": ("a b c d", "abcd"),
    "moved": ("ab c", "a bc"),
    "moved-to-the-front": ("a bc", "ab c"),
    "crossed": ("ab cd", "ac bd"),
    "crossed-over": ("ab cd", "ad bc"),
    "one-leaves": ("abc", "ac b"),
    "grows": ("ab", "abc"),
}


@each_value
@CHUNKS
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_structure_is_followed(change: str, chunks: tuple[str, ...], on_tmpfs: Path) -> None:
    was, becomes = CHANGES[change]
    build(on_tmpfs / "src", files(becomes))
    build(on_tmpfs / "dst", files(was))
    foretold = items(copy("-n", on_tmpfs / "src", on_tmpfs / "dst", *chunks).done.stdout)
    before = state(on_tmpfs / "dst")
    told = items(copy("-v", on_tmpfs / "src", on_tmpfs / "dst", *chunks).done.stdout)
    oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / "dst", top=False)
    # Which names are linked anew may depend on which others are copied: a dry run can miss some of those. And which
    # name is seen first decides which one the others are linked to: threads that list side by side, each run anew.
    assert foretold and len(foretold) <= len(told) + 1
    replaced = {path for path in map(os.fsencode, told) if not path.endswith(b"/")}
    assert replaced <= changed(before, state(on_tmpfs / "dst"))
    assert copy(on_tmpfs / "src", on_tmpfs / "dst", *chunks).copied_entries == 0


@CHUNKS
def test_the_content_of_a_group_changes_as_one(chunks: tuple[str, ...], on_tmpfs: Path) -> None:
    for name in ("src", "dst"):
        build(on_tmpfs / name, files("abc d"))
    (on_tmpfs / "src/b/b").write_bytes(b"another content")
    again = copy(on_tmpfs / "src", on_tmpfs / "dst", *chunks)
    oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / "dst", top=False)
    # Ranks that each saw some of the names may each copy the first one that they saw: they are in three directories.
    assert again.report["copied"]["bytes"] in [len(b"another content") * each for each in range(1, 4)]


@CHUNKS
def test_a_name_that_only_the_destination_has_keeps_what_it_had(chunks: tuple[str, ...], on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", files("ab"))
    build(on_tmpfs / "dst", files("abz"))
    (on_tmpfs / "src/a/a").chmod(0o600)
    copy(on_tmpfs / "src", on_tmpfs / "dst", *chunks)
    assert os.stat(on_tmpfs / "dst/z/z").st_mode & 0o777 == 0o644
    oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / "dst", exclude=["z"], top=False)


@CHUNKS
def test_links_between_the_sources_of_one_run(chunks: tuple[str, ...], on_tmpfs: Path) -> None:
    build(on_tmpfs, {"one": Dir({"d": Dir({"x": File(b"x")})}), "two": Dir({"y": HardLink("one/d/x")}),
                     "three": HardLink("one/d/x")})  # fmt: skip
    arguments = [on_tmpfs / name for name in ("one", "two", "three")]
    copy(*arguments, "-d", on_tmpfs / "dst", *chunks, world=PLAIN)
    assert len({os.stat(on_tmpfs / "dst" / name).st_ino for name in ("one/d/x", "two/y", "three")}) == 1
    assert copy(*arguments, "-d", on_tmpfs / "dst", *chunks).copied_entries == 0


@CHUNKS
def test_names_outside_of_what_is_copied_do_not_matter(chunks: tuple[str, ...], on_tmpfs: Path) -> None:
    build(on_tmpfs, {"src": Dir({"a": File(b"a"), "skipped": HardLink("src/a")}), "outside": HardLink("src/a")})
    copy(on_tmpfs / "src", on_tmpfs / "dst", "-e", "skipped", *chunks)
    assert os.listdir(on_tmpfs / "dst") == ["a"] and os.stat(on_tmpfs / "dst/a").st_nlink == 1


@pytest.mark.parametrize("really", [True, False])
def test_a_link_whose_answer_was_lost_is_there(really: bool, on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel repeats link(2) when a handle is stale, and says that the name exists."""
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"a": Dir({"f": File(b"f")}), "b": Dir({"link": HardLink("a/f")})})
    real = os.link

    def hidden(directory: int) -> bool:  # a stage
        return "/.hpcp-mpi." in os.readlink(f"/proc/self/fd/{directory}")

    def repeated(*names: Any, **where: Any) -> None:
        if really:
            real(*names, **where)
        elif hidden(where["dst_dir_fd"]):
            os.close(os.open(names[1], os.O_CREAT | os.O_WRONLY, dir_fd=where["dst_dir_fd"]))
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    monkeypatch.setattr(os, "link", repeated)
    report = direct.copy(src, dst, parallel_listing=True, chunk_files=1)
    if really:
        assert report.failures == []
        oracle.assert_equal_trees(src, dst)
    else:  # what is there is not the file: the name that came second has failed, whichever that is
        (failure,) = report.failures
        assert "File exists" in failure.reason
        copied = dst / os.path.relpath(os.fsdecode(failure.path), src)
        # Two ranks may each have copied the name that they saw: then it is that copy which stays, not what is there.
        assert not copied.exists() or copied.read_bytes() == b"f"
