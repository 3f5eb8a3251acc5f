"""What cannot be listed is named as it is when rank 0 lists alone: with the same words, and once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.copies import TINY_CHUNKS, copy
from tests.support.effort import each_pair, each_value
from tests.support.faultfs import mounted
from tests.support.launch import World
from tests.support.marks import needs_commands, needs_fuse, needs_root, worlds
from tests.support.trees import Dir, File, Name, Node, build

pytestmark = needs_commands("rsync")
WORLDS = pytest.mark.parametrize("world", worlds((3,), launchers=("plain", "mpich")))
CHUNKS = pytest.mark.parametrize("chunks", [(), TINY_CHUNKS], ids=["chunks", "tiny-chunks"])


def forest() -> dict[Name, Node]:
    inside: dict[Name, Node] = {"f": File(b"f"), "deep": Dir({"g": File(b"g")})}
    return {name: Dir({"bad": Dir(inside), **inside}) for name in ("a", "b", "bad")}


def failures(src: Path, dst: Path, *options: str, world: World, code: int, user: str | None = None) -> dict[str, str]:
    """By path below src; every path is named once."""
    ended = copy(src, dst, *options, world=world, code=code, user=user)
    assert len(ended.failures) == len(ended.report["failures"])
    return {path.removeprefix(f"{src}/"): why for path, why in ended.failures.items()}


@each_pair
@needs_fuse
@CHUNKS
@WORLDS
@pytest.mark.parametrize("fault, code", [({"eio_list": "bad"}, 23), ({"vanish": "bad"}, 24)], ids=["eio", "vanished"])
@pytest.mark.parametrize("into", ["new", "existing"])
def test_directories_that_fail_or_vanish(
    into: str, fault: dict[str, str], code: int, world: World, chunks: tuple[str, ...], on_tmpfs: Path
) -> None:
    found = []
    for number, listing in enumerate([(), ("-pfl",)]):
        src, dst = on_tmpfs / f"src{number}", on_tmpfs / f"dst{number}"
        build(src, forest())
        if into == "existing":
            build(dst, {"a": Dir({"bad": Dir({"f": File(b"old")})}), "bad": Dir()})
        with mounted(src, **fault) as mount:  # type: ignore[arg-type]
            found.append(failures(mount, dst, *listing, *chunks, world=world, code=code))
        assert (dst / "a/deep/g").read_bytes() == b"g"
        assert into == "new" or (dst / "a/bad/f").read_bytes() == b"old"
    assert found[0].keys() == found[1].keys() and {"a/bad", "b/bad", "bad"} <= found[0].keys()
    assert found[0] == found[1]


@each_value
@needs_root
@CHUNKS
@WORLDS
def test_directories_that_may_not_be_read(
    world: World, chunks: tuple[str, ...], everyone: Callable[[Path], Path], on_tmpfs: Path
) -> None:
    build(on_tmpfs / "src", forest())
    for name, mode in (("a/bad", 0o711), ("b/bad", 0o700), ("bad", 0o744)):
        (on_tmpfs / "src" / name).chmod(mode)
    mine = everyone(on_tmpfs / "mine")
    found = [
        failures(on_tmpfs / "src", mine / f"dst{len(listing)}", *listing, *chunks, world=world, code=23, user="nobody")
        for listing in ((), ("-pfl",))
    ]
    assert {"a/bad", "b/bad"} <= found[0].keys() and any(path.startswith("bad") for path in found[0])
    assert found[0] == found[1]
    assert all("Permission denied" in why for why in found[0].values())


@each_value
@needs_fuse
@CHUNKS
@WORLDS
def test_a_counterpart_that_cannot_be_listed_is_left_alone(
    world: World, chunks: tuple[str, ...], on_tmpfs: Path
) -> None:
    build(on_tmpfs / "src", forest())
    found = []
    for number, listing in enumerate([(), ("-pfl",)]):
        dst = on_tmpfs / f"dst{number}"
        build(dst, {"a": Dir({"bad": Dir({"f": File(b"old")})})})
        with mounted(dst, eio_list="a/bad") as mount:
            found.append(failures(on_tmpfs / "src", mount, *listing, *chunks, world=world, code=23))
        assert (dst / "a/bad/f").read_bytes() == b"old" and not os.path.lexists(dst / "a/bad/deep")
        assert (dst / "b/deep/g").read_bytes() == b"g"
    assert found[0] == found[1] and found[0].keys() == {"a/bad"}
