"""One tree in several images (-dis): each mounts alone, together they hold everything once."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.support import packed, trees
from tests.support.marks import needs_commands, needs_root
from tests.support.packed import inside, loops_of, pack, problems_of
from tests.support.trees import Dir, File, Symlink

pytestmark = [pytest.mark.root, needs_commands(*packed.COMMANDS)]
MIB = 1 << 20


def _files_in(image: Path, source: Path) -> set[str]:
    found = inside(image, f"cd .{source}; find . -type f -printf '%P\\n'")
    return set(found.splitlines())


@needs_root
def test_a_tree_that_is_too_big_for_one_image_is_spread_over_two_that_restore_it(on_tmpfs: Path) -> None:
    source, image, other = on_tmpfs / "s", on_tmpfs / "x.img", on_tmpfs / "x_1.img"
    content = {f"f{number}": File(os.urandom(4 * MIB)) for number in range(40)}
    directory = Dir({"g": File(b"1"), "l": Symlink("../f1")}, mode=0o711)
    trees.build(on_tmpfs, {"s": Dir({**content, "d": directory, "h": File(b"2")})})
    os.link(source / "f3", source / "d" / "hard")
    pack(source, "-di", image, "-dis", "120MiB").check()
    assert sorted(os.listdir(on_tmpfs)) == ["s", "x.img", "x_1.img"]
    for each in (image, other):
        assert each.stat().st_size == 120 * MIB
        assert problems_of(each) == ""
        assert inside(each, f"stat -c %a .{source}/d") == "711\n", "directories are in all"
        assert loops_of(each) == []
    first, second = _files_in(image, source), _files_in(other, source)
    assert not first & second
    assert first | second == {*content, "d/g", "d/hard", "h"}
    assert ("f3" in first) == ("d/hard" in first), "hard links are in one volume"
    pack("-si", image, other, "-d", on_tmpfs / "out").check()
    assert packed.rsync_finds(source, on_tmpfs / "out" / source.relative_to("/")) == ""
    again = pack(source, "-di", image, "-dis", "120MiB").check()
    assert re.search(r"^copied +0 +0 +0 +0", again.stdout, re.MULTILINE), str(again)


@needs_root
def test_what_fits_is_one_image_and_what_comes_later_gets_another_one(on_tmpfs: Path) -> None:
    source, image = on_tmpfs / "s", on_tmpfs / "x"
    trees.build(on_tmpfs, {"s": Dir({f"f{number}": File(os.urandom(MIB)) for number in range(20)})})
    pack(source, "-di", image, "-dis", "64MiB").check()
    assert sorted(os.listdir(on_tmpfs)) == ["s", "x"]
    trees.build(source, {f"g{number}": File(os.urandom(MIB)) for number in range(50)})
    pack(source, "-di", image, "-dis", "64MiB").check()
    assert sorted(os.listdir(on_tmpfs)) == ["s", "x", "x_1"]
    assert len(_files_in(image, source)) + len(_files_in(on_tmpfs / "x_1", source)) == 70
    assert problems_of(image) == problems_of(on_tmpfs / "x_1") == ""


@needs_root
def test_what_cannot_be_spread_is_refused_before_anything_is_made(on_tmpfs: Path) -> None:
    trees.build(on_tmpfs, {"s": Dir({"small": File(b"1"), "big": File(os.urandom(70 * MIB))}), "x_1.img": File(b"")})
    command = (on_tmpfs / "s", "-di", on_tmpfs / "x.img", "-dis")
    missing = pack(*command, "100MiB")
    assert missing.returncode == 1
    assert re.search(r"x\.img is missing, and .*x_1\.img is there", missing.stderr)
    (on_tmpfs / "x_1.img").unlink()
    big = pack(*command, "64MiB")
    assert big.returncode == 1
    assert re.search(r"s/big takes [0-9,]+ bytes, and a volume of 67,108,864 holds [0-9,]+", big.stderr)
    assert pack(*command, "63MiB").returncode == 2
    planned = pack(*command, "100MiB", "-n").check()
    assert "about 1 image of 104,857,600 bytes" in planned.stderr
    assert sorted(os.listdir(on_tmpfs)) == ["s"]
