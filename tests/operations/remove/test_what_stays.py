"""Mounts, closed directories, a limited rate: what a removal leaves, what it removes, and how fast."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.copies import PLAIN, copy, run
from tests.support.launch import World
from tests.support.marks import needs_root
from tests.support.removing import remove
from tests.support.trees import Dir, File, build

RANKS = World("mpich", 3)


@needs_root
def test_an_empty_directory_that_its_owner_may_not_enter_goes_as_with_rm(
    on_tmpfs: Path, everyone: Callable[[Path], Path]
) -> None:
    for name in ("ours", "theirs"):
        build(on_tmpfs / name, {"closed": Dir(mode=0), "tree": Dir({"shut": Dir(mode=0), "f": File()})})
        build(on_tmpfs / name, {f"d{i:02}": Dir(mode=0) for i in range(20)})
        everyone(on_tmpfs / name)
    run(["rm", "-rf", *(on_tmpfs / "theirs").iterdir()], user="nobody")
    assert not any((on_tmpfs / "theirs").iterdir())
    remove(on_tmpfs / "ours/closed", on_tmpfs / "ours/tree", user="nobody")
    remove(*(on_tmpfs / "ours").iterdir(), user="nobody")  # more than ranks open one by one
    assert not any((on_tmpfs / "ours").iterdir())


@needs_root
def test_a_mount_that_another_one_hides_is_in_nobodys_way(on_tmpfs: Path) -> None:
    place = on_tmpfs / "place"
    build(place, {"hidden": Dir()})
    run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place / "hidden"])
    run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place])
    try:
        build(place, {"hidden": Dir({"f": File(), "d": Dir({"g": File()})}), "tree": Dir({"h": File()})})
        remove(place / "hidden", place / "tree")
        assert not any(place.iterdir())
        build(on_tmpfs / "src", {"f": File()})
        build(place, {"hidden": Dir({"f": File()})})
        copy(on_tmpfs / "src", place, "-rme", "-rf")
        assert os.listdir(place) == ["f"]
    finally:
        run(["umount", place])
        run(["umount", place / "hidden"])


@needs_root
@pytest.mark.parametrize("world", [PLAIN, RANKS], ids=str)
def test_a_mirror_keeps_what_is_mounted_in_the_destination_with_a_note(world: World, on_tmpfs: Path) -> None:
    if world.missing():
        pytest.skip(str(world.missing()))
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"f": File()})
    build(dst, {"extra": Dir({"mounted": Dir(), "gone": Dir({"g": File()})}), "top": Dir(), "more": File()})
    build(on_tmpfs / "other", {"o": File(b"o")})
    run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", dst / "extra/mounted"])
    try:
        run(["mount", "--bind", on_tmpfs / "other", dst / "top"])
        try:
            for _ in range(2):
                done = copy(src, dst, "-rme", "-rf", world=world)
                assert set(done.notes) == {f"{dst}/extra/mounted", f"{dst}/top"}
                assert "mounted here; kept" in done.notes[f"{dst}/top"]
            found = run(["find", dst, "-mindepth", "1", "-printf", "%P\\n"]).split()
            assert sorted(found) == ["extra", "extra/mounted", "f", "top", "top/o"]
            # Who names it is told that it stays.
            assert remove(dst / "extra", code=23).failures.keys() == {f"{dst}/extra/mounted"}
        finally:
            run(["umount", dst / "top"])
    finally:
        run(["umount", dst / "extra/mounted"])


@pytest.mark.parametrize("world", [PLAIN, RANKS], ids=str)
def test_the_rate_of_files_limits_removals_too(world: World, on_tmpfs: Path) -> None:
    if world.missing():
        pytest.skip(str(world.missing()))
    build(on_tmpfs / "t", {f"d{i}": Dir({f"f{j}": File() for j in range(30)}) for i in range(10)})
    done = remove(on_tmpfs / "t", "-F", "300", world=world)
    assert not (on_tmpfs / "t").exists()
    assert 0.6 <= done.report["seconds"] < 10
    build(on_tmpfs / "dst", {"extra": Dir({f"f{j}": File() for j in range(300)})})
    build(on_tmpfs / "src", {})
    done = copy(on_tmpfs / "src", on_tmpfs / "dst", "-rme", "-rf", "-F", "300", world=world)
    assert done.report["removed"]["files"] == 300 and done.report["seconds"] >= 0.6
