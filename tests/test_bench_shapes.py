"""Trees of every shape in the bench: they are what they are called, and what a copy of them loses is told."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.bench import cli, inodes, shapes, sources, tables, verify
from tests.bench.results import Report, Result, losses_first
from tests.bench.targets import TARGETS, Target, verdicts
from tests.bench.trees import Existing, HardLinked, ManyNames, Nested, Source, Sparse, Symlinks, Thin
from tests.support.marks import needs_commands

MADE = {name: one for name, one in shapes.SOURCES.items() if not isinstance(one, Existing)}


@pytest.mark.parametrize("name", [name for name in MADE if name not in ("owners", "mid")])
def test_a_tree_has_as_many_entries_as_it_says_and_no_more_content(name: str, tmp_path: Path) -> None:
    tree = MADE[name].scaled(0.001)
    if reason := sources.unavailable(tree, tmp_path):
        pytest.skip(reason)
    sources.make(tree, tmp_path / "t")
    below = list((tmp_path / "t").rglob("*"))
    assert len(below) <= sources.room(tree).entries
    names = {path for path in below if path.is_symlink() or path.is_file()}
    assert len(names) == verify.size_of(tmp_path / "t")[0]
    inode_blocks = {(one.lstat().st_ino, one.lstat().st_blocks * 512) for one in names if not one.is_symlink()}
    assert sum(size for _, size in inode_blocks) <= sources.room(tree).content + 4096


@pytest.mark.parametrize(
    "tree, links",
    [
        (HardLinked(10, per_directory=4), {2: 10}),
        (HardLinked(10, apart=True, per_directory=4), {2: 10}),
        (HardLinked(10, per_directory=0), {2: 10}),
        (ManyNames(2, names=7, per_directory=3), {7: 2}),
    ],
    ids=str,
)
def test_each_file_has_as_many_names_as_it_says(
    tree: HardLinked | ManyNames, links: dict[int, int], tmp_path: Path
) -> None:
    sources.make(tree, tmp_path / "t")
    counts = {one.stat().st_ino: one.stat().st_nlink for one in (tmp_path / "t").rglob("*") if one.is_file()}
    assert {n: list(counts.values()).count(n) for n in counts.values()} == links
    groups: dict[int, set[Path]] = {}
    for one in (tmp_path / "t").rglob("*"):
        if one.is_file():
            groups.setdefault(one.stat().st_ino, set()).add(one.parent)
    if isinstance(tree, HardLinked):
        assert {len(parents) for parents in groups.values()} == {2 if tree.apart else 1}


def test_shapes_say_what_they_are() -> None:
    said = {
        "1,000 directories of one file each": Thin(1000),
        "20 symlinks": Symlinks(20_000).scaled(0.001),
        "8 files, each with a second name in the same directory, in directories of 200 names": HardLinked(8),
        "8 files, each with a second name in another directory, in big ones": HardLinked(8, True, 0),
        "3 files of 65,000 names each": ManyNames(3),
        "300 directories inside each other, 200 files in each": Nested(300, 200),
        "one sparse file of 8 TiB with 4 KiB of data": Sparse(8 << 40),
    }
    assert {str(tree): tree for tree in said.values()} == said


def test_each_shape_is_copied_again_and_removed_and_has_targets() -> None:
    names = [f"shape-{shape}{task}" for shape in shapes.SOURCES for task in ("", "-again", "-remove")]
    assert list(shapes.RACES) == [shapes.STARTUP, *names]
    with_targets = {target.benchmark for target in TARGETS}
    assert set(shapes.RACES) <= with_targets


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Four names of two inodes and a file with a hole, copied."""
    src, dst = tmp_path / "src", tmp_path / "dst"
    sources.make(HardLinked(2), src)
    with open(src / "hole", "xb") as file:
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(b"x")
    subprocess.run(["cp", "-a", "-T", src, dst], check=True)
    return src, dst


@needs_commands("rsync")
def test_lost_links_links_too_many_holes_and_nanoseconds_are_told(pair: tuple[Path, Path]) -> None:
    src, dst = pair
    assert verify.judge_all(src, dst) == verify.Judgement()
    name = "dir00000/name0000001"
    shutil.copy2(src / name, dst / "copy")
    os.replace(dst / "copy", dst / name)
    judged = verify.judge_all(src, dst)
    assert judged.error is None and judged.lost and "1 hard links" in judged.remark
    os.unlink(src / name)
    shutil.copy2(dst / name, src / name)  # as if it had been one file with the other name in the copy only
    os.unlink(dst / name)
    os.link(dst / "dir00000/file0000001", dst / name)
    assert "1 hard links" in verify.judge_all(src, dst).remark
    (dst / "hole").write_bytes((src / "hole").read_bytes())
    shutil.copystat(src / "hole", dst / "hole")
    status = os.stat(src / "hole")
    os.utime(dst / "hole", ns=(status.st_atime_ns, status.st_mtime_ns ^ 1))
    remark = verify.judge_all(src, dst).remark
    assert "1 holes filled" in remark and "times below a second" in remark


def test_of_a_huge_hole_only_data_are_compared(tmp_path: Path) -> None:
    tree = Sparse(512 << 30)
    if reason := sources.unavailable(tree, tmp_path):
        pytest.skip(reason)
    sources.make(tree, tmp_path / "src")
    subprocess.run(["cp", "-a", "-T", tmp_path / "src", tmp_path / "dst"], check=True)
    assert inodes.is_sparse(tmp_path / "src") and verify.judge_all(tmp_path / "src", tmp_path / "dst").error is None
    status = os.stat(tmp_path / "dst/sparse")
    with open(tmp_path / "dst/sparse", "r+b") as file:
        file.seek(5 << 30)  # a hole in the source
        file.write(b"x")
    os.utime(tmp_path / "dst/sparse", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "the data of sparse" in (verify.judge_all(tmp_path / "src", tmp_path / "dst").error or "")


def race(name: str, baseline: str, **seconds: float) -> Report:
    results = tuple(
        Result(who.replace("_", "-"), "hpcp-mpi" if who in ("plain", "mpich_4") else who, samples=(each,))
        for who, each in seconds.items()
    )
    return Report(name, name, "s", baseline, True, results)


def test_losses_come_first() -> None:
    found = losses_first(
        [race("a", "cp", cp=2.0, plain=1.0), race("b", "rm", rm=1.0, mpich_4=3.0, drm_4=2.0)], "hpcp-mpi"
    )
    assert [(one.benchmark, one.of, one.ratio) for one in found] == [
        ("b", "rm", 3.0),
        ("b", "drm_4", 1.5),
        ("a", "cp", 0.5),
    ]
    out = io.StringIO()
    tables.show_losses(found, tables.console(out))
    assert out.getvalue().index("drm_4") < out.getvalue().index(" cp ")


def test_beyond_start_up_only_what_is_more_than_it_counts() -> None:
    target = Target("s", "mpich-4", 0.1, of="cp", beyond="start")
    start, slow = race("start", "cp", cp=0.01, mpich_4=0.5), race("s", "cp", cp=0.05, mpich_4=0.7)
    (verdict,) = verdicts([start, slow], [target])
    assert verdict.measured == pytest.approx(0.7 - 0.05 - (0.5 - 0.01)) and verdict.reached is False
    assert verdict.limit == "<= cp + 0.1 s beyond start-up"
    (without,) = verdicts([slow], [target])
    assert without.reached is None


@needs_commands("rsync", "find")
def test_shapes_race_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = "shape-thin,shape-hard-other-again,shape-names-remove,shape-sparse-512g"
    options = ["--contestants", "cp,rsync,rm", "--scale", "0.0005", "--rounds", "2", "--place", str(tmp_path)]
    assert cli.main(["--only", only, *options]) == 0
    out = capsys.readouterr().out
    assert "directories of one file each" in out and "rsync -a -HAX" in out and "shape-startup" in out
    assert "FAILED" not in out and list(tmp_path.iterdir()) == []


def test_sources_of_shapes_are_of_all_kinds() -> None:
    kinds: set[type[Source]] = {type(one) for one in shapes.SOURCES.values()}
    assert kinds >= {Thin, Symlinks, HardLinked, ManyNames, Nested, Sparse, Existing}
