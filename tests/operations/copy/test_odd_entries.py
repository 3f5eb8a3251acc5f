"""Entries that only look like files or links: whiteouts of overlays, links to pipes."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.copies import copy, run
from tests.support.launch import World
from tests.support.marks import needs_root
from tests.support.trees import Dir, File, build


@needs_root
@pytest.mark.parametrize("world", [World("plain"), World("mpich", 3)], ids=str)
def test_a_whiteout_that_an_overlay_cannot_store_is_noted_and_stops_no_mirror(world: World, on_tmpfs: Path) -> None:
    src = on_tmpfs / "src"
    build(src, {"d": Dir({"f": File(b"f")}), "e": Dir({"g": File(b"g")})})
    for name in ("d/gone", "e/way"):
        os.mknod(src / name, stat.S_IFCHR, os.makedev(0, 0))
    build(on_tmpfs, {"low": Dir({}), "up": Dir({}), "work": Dir({}), "merged": Dir({})})
    dst = on_tmpfs / "merged"
    options = f"lowerdir={on_tmpfs}/low,upperdir={on_tmpfs}/up,workdir={on_tmpfs}/work"
    run(["mount", "-t", "overlay", "overlay", "-o", options, dst])
    try:
        refusal = subprocess.run(["cp", "-a", src / "d/gone", dst / "gone"], capture_output=True, text=True)
        assert "Operation not permitted" in refusal.stderr
        build(dst, {"extra": File(b"x"), "e": Dir({"way": Dir({"kept": File(b"k")})})})
        run_ = copy(src, dst, "-rme", "-rf", world=world)
        assert set(run_.notes) >= {f"{src}/d/gone", f"{src}/e/way"} and "whiteout" in run_.notes[f"{src}/d/gone"]
        assert not (dst / "extra").exists() and (dst / "e/way/kept").exists()
        copy(src, dst, "-rme", "-rf", world=world)
        copy(src, "-d", dst, "-rm", "-rf", world=world)
        assert sorted(path.name for path in src.rglob("*")) == ["d", "e", "gone", "way"]
    finally:
        run(["umount", dst])


@needs_root
def test_a_whiteout_is_copied_where_it_can_be_stored(on_tmpfs: Path) -> None:
    (on_tmpfs / "src").mkdir()
    os.mknod(on_tmpfs / "src/w", stat.S_IFCHR, os.makedev(0, 0))
    copy(on_tmpfs / "src", on_tmpfs / "dst")
    assert stat.S_ISCHR(os.lstat(on_tmpfs / "dst/w").st_mode)


def test_a_named_link_to_a_pipe_is_noted(on_tmpfs: Path) -> None:
    """As a shell's <(cmd): it names a link to a pipe."""
    os.mkfifo(on_tmpfs / "fifo")
    os.symlink("fifo", on_tmpfs / "link")
    os.symlink("nothing", on_tmpfs / "other")
    run_ = copy(on_tmpfs / "link", on_tmpfs / "other", f"{on_tmpfs}/dst/", "-nlt")
    assert os.readlink(on_tmpfs / "dst/link") == "fifo"
    assert list(run_.notes) == [f"{on_tmpfs}/link"] and "symlink to a pipe" in run_.notes[f"{on_tmpfs}/link"]
