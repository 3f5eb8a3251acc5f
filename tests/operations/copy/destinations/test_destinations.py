"""Several destinations: together they hold the source once, and a run again changes nothing."""

from __future__ import annotations

import os
import stat
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hpcp_mpi
from tests.support import oracle
from tests.support.copies import PLAIN, Copied, changed, copy, items, refused, run, stages, state
from tests.support.effort import each_value
from tests.support.launch import Argument, World
from tests.support.marks import needs_commands, needs_root, worlds
from tests.support.trees import Dir, Fifo, File, HardLink, Name, Node, Sparse, Symlink, build

pytestmark = needs_commands("rsync")
MIB = 1 << 20
T = 1_600_000_000 * 10**9
WORLDS = [PLAIN, *worlds((3,), launchers=("mpich",))]


def spread(src: Path, roots: list[Path], *options: Argument, world: World = PLAIN, code: int = 0) -> Copied:
    return copy(*options, src, *(word for root in roots for word in ("-d", root)), world=world, code=code)


def assert_spread(src: Path, roots: list[Path], union: Path) -> None:
    """Every directory is everywhere, everything else once, and all together is the source."""
    wanted = oracle.lstats(src)
    directories = {path for path, info in wanted.items() if stat.S_ISDIR(info.st_mode)}
    found = Counter(path for root in roots for path in oracle.lstats(root))
    assert found == {path: len(roots) if path in directories else 1 for path in wanted}
    for root in roots:
        only = [path for path in wanted if path not in oracle.lstats(root)]
        oracle.assert_equal_trees(src, root, exclude=only)
    for number, root in enumerate(roots):
        run(["rsync", "-aHAX", f"{root}/", union / "merged" if number else f"{union}/merged"])
    groups = oracle.hard_link_groups(src)
    for root in roots:
        assert {group for group in groups if any((root / os.fsdecode(path)).exists() for path in group)} == (
            oracle.hard_link_groups(root)
        )
    assert sum(len(oracle.hard_link_groups(root)) for root in roots) == len(groups)
    assert not any(stages(root) for root in roots)


def everyday(names: int = 60) -> dict[Name, Node]:
    """Files of all kinds in a few directories."""
    tree: dict[Name, Node] = {f"f{i}": File(b"%d" % i, mtime_ns=T + i) for i in range(names)}
    tree["d"] = Dir({f"g{i}": File(b"g" * i, mtime_ns=T, mode=0o600 + i % 64) for i in range(names)}, mtime_ns=T)
    tree["links"] = Dir({f"h{i}": HardLink(f"f{i}") for i in range(0, names, 3)}, mode=0o711, mtime_ns=T)
    tree["more"] = Dir({"empty": Dir(mode=0o700, mtime_ns=T), "p": Fifo(), "big": Sparse(5 * MIB, ((MIB, b"x"),))})
    return tree


@each_value
@pytest.mark.parametrize("world", WORLDS, ids=str)
@pytest.mark.parametrize("options", [(), ("-rds",), ("-pfl", "--split-size", "4M")], ids=["free", "random", "ranges"])
def test_all_destinations_together_hold_the_source(world: World, options: tuple[str, ...], on_tmpfs: Path) -> None:
    src, roots = on_tmpfs / "src", [on_tmpfs / name for name in ("A", "B", "C")]
    build(src, everyday())
    done = spread(src, roots, *options, world=world)
    assert_spread(src, roots, on_tmpfs)
    for kind in ("files", "links", "other"):
        assert done.report["copied"][kind] == done.report["found"][kind]
    assert done.report["found"]["directories"] == 5
    assert done.report["destinations"] == [str(root) for root in roots]
    assert min(len(list(root.rglob("*"))) for root in roots) > 20
    before = [state(root) for root in roots]
    again = spread(src, roots, *options, world=world)
    assert again.copied_entries == 0
    assert [changed(*pair) for pair in zip(before, map(state, roots), strict=True)] == [set()] * 3


def test_what_is_in_one_destination_stays_and_is_updated_there(on_tmpfs: Path) -> None:
    src, roots = on_tmpfs / "src", [on_tmpfs / "A", on_tmpfs / "B"]
    build(src, {f"f{i}": File(b"%d" % i) for i in range(20)})
    for number, root in enumerate(roots):  # not where a new one would go
        root.mkdir()
        for name in range(number, 20, 2):
            run(["cp", "-a", src / f"f{name}", root])
    before = [set(os.listdir(root)) for root in roots]
    for name in range(7, 13):
        (src / f"f{name}").write_bytes(b"changed")
    done = spread(src, roots)
    assert done.report["copied"]["files"] == 6
    assert [set(os.listdir(root)) for root in roots] == before
    assert_spread(src, roots, on_tmpfs)


def test_a_symlink_goes_where_its_target_is(on_tmpfs: Path) -> None:
    src, roots = on_tmpfs / "src", [on_tmpfs / name for name in ("A", "B", "C")]
    files: dict[Name, Node] = {f"f{i}": File(b"%d" % i) for i in range(30)}
    links: dict[Name, Node] = {f"l{i}": Symlink(f"../f{i}") for i in range(30)}
    chains: dict[Name, Node] = {f"c{i}": Symlink(f"l{i}") for i in range(30)}
    odd: dict[Name, Node] = {"abs": Symlink("/etc/passwd"), "dir": Symlink("../d"), "none": Symlink("missing"),
                             "out": Symlink("../../x"), "loop": Symlink("loop")}  # fmt: skip
    build(src, {**files, "d": Dir({**links, **chains, **odd})})
    spread(src, roots)
    assert_spread(src, roots, on_tmpfs)
    for root in roots:
        for path in (root / "d").iterdir():
            assert path.exists() or path.name in odd, path
    assert all(os.path.islink(roots[0] / "d" / os.fsdecode(name)) for name in odd)
    assert spread(src, roots).copied_entries == 0


@contextmanager
def small(place: Path, sizes: dict[str, str]) -> Iterator[list[Path]]:
    """File systems in memory of these sizes."""
    roots = []
    try:
        for name, size in sizes.items():
            (place / name).mkdir()
            run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", place / name])
            roots.append(place / name)
        yield roots
    finally:
        for root in roots:
            run(["umount", "-l", root])


@needs_root
@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_what_does_not_fit_where_it_belongs_goes_where_it_fits(world: World, on_tmpfs: Path) -> None:
    src = on_tmpfs / "src"
    build(src, {f"f{i:02}": File(os.urandom(MIB // 2)) for i in range(16)})
    with small(on_tmpfs, {"A": "2m", "B": "5m", "C": "3m"}) as roots:
        spread(src, roots, "-rds", world=world)
        assert_spread(src, roots, on_tmpfs)
        assert spread(src, roots, "-rds", world=world).copied_entries == 0


@needs_root
def test_what_fits_nowhere_is_named_and_everything_else_is_copied(on_tmpfs: Path) -> None:
    src = on_tmpfs / "src"
    build(src, {"huge": File(bytes(3 * MIB)), "hole": Sparse(1 << 30), **{f"f{i}": File(b"x") for i in range(9)}})
    with small(on_tmpfs, {"A": "2m", "B": "2m"}) as roots:
        done = spread(src, roots, code=23)
        assert list(done.failures) == [str(src / "huge")] and "fits on none" in done.failures[str(src / "huge")]
        assert done.report["found"]["files"] == 11
        found = Counter(path.name for root in roots for path in root.iterdir())
        assert found == Counter([*(f"f{i}" for i in range(9)), "hole"])


@needs_root
def test_free_space_decides_how_much_each_gets(on_tmpfs: Path) -> None:
    src = on_tmpfs / "src"
    build(src, {f"f{i}": File(b"x") for i in range(400)})
    with small(on_tmpfs, {"A": "2m", "B": "30m"}) as roots:
        spread(src, roots)
        assert len(os.listdir(roots[0])) < 80 < 300 < len(os.listdir(roots[1]))


def test_a_dry_run_says_where_everything_goes(on_tmpfs: Path) -> None:
    src, roots = on_tmpfs / "src", [on_tmpfs / "A", on_tmpfs / "B"]
    build(src, everyday(20))
    dry = spread(src, roots, "-n")
    assert not roots[0].exists() and not roots[1].exists()
    real = spread(src, roots, "-v")
    assert items(dry.done.stdout) == items(real.done.stdout)
    for key in ("found", "copied"):
        assert dry.report[key] == real.report[key]


def test_a_failure_is_told_once(on_tmpfs: Path) -> None:
    src, roots = on_tmpfs / "src", [on_tmpfs / "A", on_tmpfs / "B"]
    build(src, {"f": File(b"f"), "g": File(b"g")})
    for root in roots:
        build(root, {"f": Dir({"full": File(b"x")})})
    done = spread(src, roots, code=23)
    assert list(done.failures) == [str(src / "f")]
    assert sum((root / "g").exists() for root in roots) == 1


def test_what_failed_at_its_place_does_not_turn_up_elsewhere(on_tmpfs: Path) -> None:
    src, roots = on_tmpfs / "src", [on_tmpfs / "A", on_tmpfs / "B"]
    names = [f"f{i}" for i in range(20)]
    build(src, {name: File(b"f") for name in names})
    build(roots[0], {name: Dir({"full": File(b"x")}) for name in names})
    done = spread(src, roots, code=23)
    failed = {os.path.basename(path) for path in done.failures}
    assert 0 < len(failed) < 20 and set(os.listdir(roots[1])) == set(names) - failed


def test_a_mirror_removes_what_no_source_has_from_wherever_it_is(on_tmpfs: Path) -> None:
    src, roots = on_tmpfs / "src", [on_tmpfs / "A", on_tmpfs / "B"]
    build(src, everyday(20))
    spread(src, roots)
    for number, root in enumerate(roots):
        build(root / "extra", {f"x{number}": File(b"x")})
        (root / "d" / f"y{number}").write_bytes(b"y")
    spread(src, roots, "-rme", "-rf")
    assert_spread(src, roots, on_tmpfs)


def test_max_delete_is_for_all_destinations_together_and_everything_is_copied(on_tmpfs: Path) -> None:
    src, roots = on_tmpfs / "src", [on_tmpfs / "A", on_tmpfs / "B"]
    build(src, everyday(20))
    for root in roots:
        build(root, {f"x{number}": File(b"x") for number in range(3)})
    spread(src, roots, "-rme", "-rf", "--max-delete", "2", code=25)
    for root in roots:
        assert len(list(root.glob("x?"))) == 3
    spread(src, roots, "-rme", "-rf", "--max-delete", "5", code=25)
    assert sorted(len(list(root.glob("x?"))) for root in roots) == [0, 3]
    spread(src, roots, "-rme", "-rf", "--max-delete", "3")
    assert_spread(src, roots, on_tmpfs)


def test_landing_rules_hold_for_each(on_tmpfs: Path) -> None:
    build(on_tmpfs / "a", {"1": File(b"1")})
    build(on_tmpfs / "b", {"2": File(b"2"), "tmp": File(b"t")})
    (on_tmpfs / "f").write_bytes(b"f")
    sources: list[Argument] = [on_tmpfs / "a", f"{on_tmpfs}/b", on_tmpfs / "f"]
    copy("-e", "tmp", *sources, "-d", on_tmpfs / "A", "-d", on_tmpfs / "B")
    found = Counter(os.fsdecode(path) for name in "AB" for path in oracle.entries(on_tmpfs / name))
    assert found == {"a": 2, "b": 2, "a/1": 1, "b/2": 1, "f": 1}


def test_the_same_destination_twice_is_one(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"f": File(b"f")})
    copy(on_tmpfs / "src", "-d", on_tmpfs / "A", "-d", f"{on_tmpfs}/./A")
    oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / "A")


def test_what_has_no_meaning_is_refused(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"f": File(b"f")})
    both = ("-d", on_tmpfs / "A", "-d", on_tmpfs / "B")
    refused(on_tmpfs / "src/f", *both, says="several destinations")
    refused("-rm", "-rf", on_tmpfs / "src", *both, says="several destinations")
    refused(on_tmpfs / "src", "-d", on_tmpfs / "A", "-d", on_tmpfs / "A/inside", says="inside")
    refused(on_tmpfs / "src", "-d", on_tmpfs / "A", "-d", on_tmpfs / "src/in", says="inside the source")
    refused(on_tmpfs / "src", on_tmpfs / "missing", *both, says="missing")
    assert sorted(os.listdir(on_tmpfs)) == ["src"]


def test_from_python(on_tmpfs: Path) -> None:
    src, roots = on_tmpfs / "src", [on_tmpfs / "A", on_tmpfs / "B"]
    build(src, everyday(20))
    assert hpcp_mpi.copy(src, roots).exit_code == 0
    assert_spread(src, roots, on_tmpfs)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_was_where_all_is_there_in_the_end(data: st.DataObject, on_tmpfs: Path) -> None:
    """Files come, change and are moved between destinations by hand; each run puts it right."""
    subprocess.run(["rm", "-rf", *on_tmpfs.iterdir()], check=True)
    src, roots = on_tmpfs / "src", [on_tmpfs / name for name in ("A", "B", "C")]
    for path in (src, *roots):
        build(path, {"d": Dir()})
    some = st.sets(st.integers(0, 12), max_size=6)
    for number in range(3):
        for name in data.draw(some, label="written"):
            (src / "d" / f"f{name}").write_bytes(b"%d" % number * data.draw(st.integers(1, 3)))
        for name in data.draw(some, label="linked"):
            if not (src / "d" / f"l{name}").is_symlink():
                os.symlink(f"f{name}", src / "d" / f"l{name}")
        for name in data.draw(some, label="moved"):
            to = data.draw(st.sampled_from(roots)) / "d" / f"f{name}"
            for root in roots:
                if (root / "d" / f"f{name}").exists():
                    os.rename(root / "d" / f"f{name}", to)
        assert hpcp_mpi.copy(src, roots).exit_code == 0
        assert_spread(src, roots, on_tmpfs)
