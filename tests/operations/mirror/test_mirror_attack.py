"""Another user who owns the destination swaps directories for symlinks while root mirrors: nothing outside is removed,
moved or added. The attack is shown to work on a mirror that does not look.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.operations.copy.test_attack import harm
from tests.support.copies import PLAIN, TINY_CHUNKS
from tests.support.launch import World
from tests.support.trees import Dir, File, build

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
EFFORT = 3  # seconds

# argv: destination, outside. Makes what a mirror removes, again and again, and swaps its directories and those of the
# backup for symlinks.
SWAP_EXTRA = """
import os, sys
os.chdir(sys.argv[1])
victims = sorted(os.listdir(sys.argv[2]))
number = 0
while True:
    number += 1
    for place in ("extra/deep", "sub/deep", "bak/extra", "bak/sub"):
        try:
            if not place.startswith("bak"):
                os.makedirs(place, exist_ok=True)
                for name in victims:
                    open(f"{place}/{name}", "w").close()
            for act in (lambda: os.rename(place, f"aside{number}"), lambda: os.symlink(sys.argv[2], place),
                        lambda: os.unlink(place), lambda: os.rename(f"aside{number}", place)):
                act()
        except OSError:
            pass
"""


@pytest.fixture
def scene(on_tmpfs: Path, everyone: Callable[[Path], Path]) -> tuple[Path, Path, Path]:
    """The attacker's source and destination, and a place of root's that the attacker cannot write to."""
    names = [f"f{i}" for i in range(20)]
    build(on_tmpfs / "src", {"sub": Dir({name: File(b"from the source") for name in names[:3]})})
    build(on_tmpfs / "outside", {name: File(b"precious") for name in names}, owner=(0, 0))
    build(on_tmpfs / "dst", {"extra": Dir({"deep": Dir({name: File(b"old") for name in names})}), "bak": Dir({})})
    return everyone(on_tmpfs / "src"), everyone(on_tmpfs / "dst"), on_tmpfs / "outside"


def naive(src: Path, dst: Path) -> None:
    """Removes by path what it has listed, as many do."""
    for here, _, files in os.walk(dst, topdown=False):
        for name in files:
            if not (src / Path(here).relative_to(dst) / name).exists():
                try:
                    os.unlink(os.path.join(here, name))
                except OSError:
                    continue


def test_the_attack_works_on_a_mirror_that_does_not_look(scene: tuple[Path, Path, Path]) -> None:
    assert harm(lambda: naive(scene[0], scene[1]), SWAP_EXTRA, scene, 8 * EFFORT) > 0


WAYS = {"removed": (), "tiny": TINY_CHUNKS, "kept": ("--backup-dir", "bak")}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_outside_is_harmed(way: str, scene: tuple[Path, Path, Path]) -> None:
    attacked(PLAIN, scene, *WAYS[way])


def test_nothing_outside_is_harmed_with_ranks(scene: tuple[Path, Path, Path]) -> None:
    world = World("mpich", 3)
    if world.missing():
        pytest.skip(str(world.missing()))
    attacked(world, scene)


def attacked(world: World, scene: tuple[Path, Path, Path], *options: str) -> None:
    src, dst, _ = scene
    codes: set[int] = set()
    removes: list[bool] = []

    def mirror() -> None:
        done = world.run([src, dst, "-rme", "-rf", *options])
        assert "Traceback" not in done.stderr, str(done)
        codes.add(done.returncode)
        removes.append(re.search(r"^removed +[1-9]", done.stdout, re.MULTILINE) is not None)

    assert harm(mirror, SWAP_EXTRA, scene, EFFORT) == 0
    assert codes <= {0, 1, 23, 24}
    assert any(removes)
    # When it is quiet again, the mirror is made.
    assert PLAIN.run([src, dst, "-rme", "-rf"]).returncode == 0
    assert sorted(os.listdir(dst)) == ["sub"]
