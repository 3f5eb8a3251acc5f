"""A symlink never replaces what it leads to: the state after "archive a file, leave a link to it, sync again"."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.copies import copy, stages
from tests.support.launch import World
from tests.support.trees import Dir, File, Symlink, build

PLAIN, RANKS = World("plain"), World("mpich", 3)
SAYS = "would lead to itself"


def archived(place: Path, *, relative: bool = False) -> tuple[Path, Path]:
    """A source whose files were archived; links were left in their places."""
    src, dst = place / "src", place / "dst"
    to = "../dst" if relative else str(dst)
    deeper = f"../{to}" if relative else to
    build(dst, {
        "f": File(b"the only f"),
        "d": Dir({"g": File(b"the only g")}),
        "way": Dir({"h": File(b"the only h")}),
        "empty": Dir({}),
        "1": Symlink("2"),
        "2": Symlink("end"),
        "end": File(b"the end"),
        "chain": File(b"the only chain"),
        "to-chain": Symlink("chain"),
    })  # fmt: skip
    build(src, {
        "f": Symlink(f"{to}/f"),
        "d": Dir({"g": Symlink(f"{deeper}/d/g")}),
        "way": Symlink(f"{to}/way/h"),  # through the directory that it would replace
        "empty": Symlink(f"{to}/empty"),
        "1": Symlink(f"{to}/1"),
        "2": Symlink(f"{to}/1"),  # through the link that it would replace
        "chain": Symlink(f"{to}/to-chain"),
        "new": File(b"n"),
    })  # fmt: skip
    return src, dst


LINKS = {"f", "d/g", "way", "empty", "1", "2", "chain"}


def held(root: Path) -> dict[str, bytes | str]:
    """What is at each path: bytes, or the target of a link."""
    return {
        str(path.relative_to(root)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


@pytest.mark.parametrize(
    "options, world, relative",
    [
        ("", PLAIN, False),
        ("", PLAIN, True),
        ("-co -f 1 --chunk-size 1", PLAIN, False),
        ("-pfl", RANKS, True),
        ("-rm -rf", RANKS, False),
        ("-rme -rf -nlt", PLAIN, True),
        ("--backup-dir old", PLAIN, False),
    ],
    ids=str,
)
def test_a_link_to_its_own_copy_is_refused_as_cp_does(
    options: str, world: World, relative: bool, on_tmpfs: Path
) -> None:
    src, dst = archived(on_tmpfs, relative=relative)
    before = held(dst)
    run_ = copy(src, "-d", dst, *options.split(), world=world, code=23)
    assert {path[len(str(src)) + 1 :] for path in run_.failures} - {""} >= LINKS
    assert all(SAYS in run_.failures[f"{src}/{name}"] for name in LINKS)
    assert held(dst) == before | {"new": b"n"}
    assert (dst / "empty").is_dir() and all((src / name).is_symlink() for name in LINKS)
    assert stages(dst) == []


def test_cp_refuses_it_too_and_a_naive_copier_loses_the_content(on_tmpfs: Path) -> None:
    src, dst = archived(on_tmpfs)
    done = subprocess.run(["cp", "-a", src / "f", dst / "f"], capture_output=True, text=True)
    assert "are the same file" in done.stderr and (dst / "f").read_bytes() == b"the only f"
    os.symlink(os.readlink(src / "f"), dst / "stage")
    os.rename(dst / "stage", dst / "f")
    with pytest.raises(OSError, match="symbolic links"):
        (dst / "f").read_bytes()


def test_a_dry_run_says_so(on_tmpfs: Path) -> None:
    src, dst = archived(on_tmpfs)
    before = held(dst)
    assert {path[len(str(src)) + 1 :] for path in copy(src, dst, "-n", code=23).failures} >= LINKS
    assert held(dst) == before


def test_a_list_or_a_name_does_not_make_it_so(on_tmpfs: Path) -> None:
    src, dst = archived(on_tmpfs)
    before = held(dst)
    (on_tmpfs / "list").write_text("f\nd/g\n")
    run_ = copy("-nhfl", "-sfl", on_tmpfs / "list", src, "-d", dst, code=23)
    assert set(run_.failures) == {f"{src}/f", f"{src}/d/g"}
    os.symlink(dst / "f", on_tmpfs / "other name")
    assert list(copy(on_tmpfs / "other name", dst / "f", code=23).failures) == [f"{on_tmpfs}/other name"]
    assert held(dst) == before


@pytest.mark.parametrize("world", [PLAIN, RANKS], ids=str)
def test_a_link_of_several_names_replaces_none_that_it_leads_to(world: World, on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(dst, {"a": File(b"a"), "b": File(b"the only b"), "d": Dir({"c": File(b"c")})})
    build(src, {"a": Symlink(str(dst / "b")), "d": Dir({})})
    os.link(src / "a", src / "b", follow_symlinks=False)
    os.link(src / "a", src / "d/c", follow_symlinks=False)
    run_ = copy(src, dst, world=world, code=23)
    assert list(run_.failures) == [f"{src}/b"] and SAYS in run_.failures[f"{src}/b"]
    assert held(dst) == {"a": f"{dst}/b", "b": b"the only b", "d/c": f"{dst}/b"}


def test_a_link_that_leads_nowhere_or_to_itself_is_copied_as_what_it_is(on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"loop": Symlink("loop"), "a": Symlink("b"), "b": Symlink("a"), "gone": Symlink("x"), "o": Symlink("f"),
                "f": File(b"f")})  # fmt: skip
    build(dst, {name: File(b"old") for name in ("loop", "a", "b", "gone", "o", "f")})
    copy(src, dst)
    assert held(dst) == held(src)
