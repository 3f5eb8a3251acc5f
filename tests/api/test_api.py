"""The Python API: what the command does, in process, without a word."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import hpcp_mpi
from hpcp_mpi import FatalError
from tests.support import oracle
from tests.support.marks import needs_commands
from tests.support.torture import torture
from tests.support.trees import Dir, File, build

pytestmark = needs_commands("rsync")


def test_copy_returns_a_report_and_equal_trees(on_tmpfs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torture(on_tmpfs / "src", as_root=os.geteuid() == 0, beyond_path_max=False)
    report = hpcp_mpi.copy(on_tmpfs / "src", on_tmpfs / "dst")
    assert (report.exit_code, report.failures) == (0, [])
    oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / "dst", sockets=False)
    again = hpcp_mpi.copy([str(on_tmpfs / "src")], os.fsencode(on_tmpfs / "dst"))
    assert again.outcome.copied.entries == 0 and again.outcome.skipped.files == report.outcome.copied.files
    assert capfd.readouterr() == ("", "")


def test_options_are_those_of_the_command(on_tmpfs: Path) -> None:
    build(on_tmpfs / "a", {"x": File(b"x"), "y.tmp": File(b"y")})
    build(on_tmpfs / "b", {"z": File(b"z")})
    dry = hpcp_mpi.copy([on_tmpfs / "a", on_tmpfs / "b"], on_tmpfs / "dst", exclude="*.tmp", dry_run=True)
    assert dry.dry_run and not (on_tmpfs / "dst").exists()
    report = hpcp_mpi.copy([on_tmpfs / "a", on_tmpfs / "b"], on_tmpfs / "dst", exclude="*.tmp")
    assert report.outcome.copied.files == 2
    assert sorted(path.name for path in (on_tmpfs / "dst").rglob("*")) == ["a", "b", "x", "z"]


def test_failures_are_data(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"f": File(b"f"), "g": File(b"g")})
    build(on_tmpfs / "dst", {"f": Dir({"full": File(b"x")})})
    report = hpcp_mpi.copy(on_tmpfs / "src", on_tmpfs / "dst")
    assert report.exit_code == 23
    assert [failure.path for failure in report.failures] == [os.fsencode(on_tmpfs / "src/f")]
    assert (on_tmpfs / "dst/g").read_bytes() == b"g"


def test_what_cannot_start_raises(on_tmpfs: Path) -> None:
    with pytest.raises(FatalError, match="missing"):
        hpcp_mpi.copy(on_tmpfs / "missing", on_tmpfs / "dst")
    assert not (on_tmpfs / "dst").exists()


def test_compare_tells_what_differs_and_writes_nothing(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"same": File(b"s"), "new": File(b"n"), "changed": File(b"1")})
    hpcp_mpi.copy(on_tmpfs / "src", on_tmpfs / "dst")
    equal = hpcp_mpi.verify(on_tmpfs / "src", on_tmpfs / "dst")
    assert (equal.verb, equal.exit_code, sum((equal.differences or {"": 1}).values())) == ("compare", 0, 0)
    (on_tmpfs / "dst/new").rename(on_tmpfs / "dst/old")
    (on_tmpfs / "dst/changed").write_bytes(b"22")
    os.utime(on_tmpfs / "dst", ns=((on_tmpfs / "src").stat().st_atime_ns, (on_tmpfs / "src").stat().st_mtime_ns))
    before = oracle.lstats(on_tmpfs)
    report = hpcp_mpi.compare([on_tmpfs / "src"], on_tmpfs / "dst")
    assert (report.exit_code, report.differences) == (3, {"added": 1, "modified": 1, "deleted": 1})
    assert report.paths == {"added": [b"new"], "modified": [b"changed"], "deleted": [b"old"]}
    assert oracle.lstats(on_tmpfs).keys() == before.keys()


def test_to_call_remove_is_to_agree(on_tmpfs: Path) -> None:
    build(on_tmpfs / "a", {"x": File(b"x"), "y.keep": File(b"y")})
    build(on_tmpfs / "b", {"z": File(b"z")})
    dry = hpcp_mpi.remove([on_tmpfs / "a", on_tmpfs / "b"], exclude=[b"*.keep"], dry_run=True)
    assert dry.dry_run and (on_tmpfs / "b/z").exists()
    report = hpcp_mpi.remove([on_tmpfs / "a", on_tmpfs / "b"], exclude=[b"*.keep"])
    assert (report.verb, report.exit_code, report.outcome.removed.files) == ("remove", 0, 2)
    assert dry.outcome.removed == report.outcome.removed
    assert sorted(path.name for path in on_tmpfs.rglob("*")) == ["a", "y.keep"]


def test_mirrors_and_moves_ask_nothing(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"x": File(b"x")})
    build(on_tmpfs / "dst", {"extra": File(b"e")})
    assert hpcp_mpi.mirror(on_tmpfs / "src", on_tmpfs / "dst").outcome.removed.files == 1
    assert hpcp_mpi.move(on_tmpfs / "src", on_tmpfs / "dst").exit_code == 0
    assert sorted(path.name for path in on_tmpfs.rglob("*")) == ["dst", "x"]


@pytest.mark.parametrize("hashes", [True, False])
def test_a_list_is_written_with_or_without_hashes(hashes: bool, on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"x": File(b"x"), "d": Dir({"y": File(b"")})})
    report = hpcp_mpi.list_files(os.fsencode(on_tmpfs / "src") + b"/", on_tmpfs / "list", hashes=hashes)
    assert (report.verb, report.exit_code, report.scanned.files) == ("list", 0, 2)
    names = [line.partition(":")[0] for line in (on_tmpfs / "list").read_text().splitlines()]
    assert names == ["./", "d/", "d/y", "x"]
    assert ("d/y:ef46db3751d8e999" in (on_tmpfs / "list").read_text()) == hashes


def test_verify_reads_every_byte(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"big": File(b"x" * 1_000_000)})
    hpcp_mpi.copy(on_tmpfs / "src", on_tmpfs / "dst")
    times = (on_tmpfs / "src/big").stat()
    with open(on_tmpfs / "dst/big", "r+b") as file:
        file.write(b"y")
    os.utime(on_tmpfs / "dst/big", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert hpcp_mpi.compare(on_tmpfs / "src", on_tmpfs / "dst").exit_code == 0
    assert hpcp_mpi.verify(on_tmpfs / "src", on_tmpfs / "dst").differences == {"added": 0, "modified": 1, "deleted": 0}


def test_a_list_is_what_a_tree_is_compared_with_and_what_is_copied(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"x": File(b"x"), "d": Dir({"y": File(b"y")})})
    hpcp_mpi.list_files(f"{on_tmpfs}/src/", on_tmpfs / "list")
    (on_tmpfs / "src/d/y").unlink()
    compared = hpcp_mpi.compare(f"{on_tmpfs}/src/", target_file_list=on_tmpfs / "list")
    assert compared.exit_code == 3 and compared.differences == {"added": 0, "modified": 0, "deleted": 1}
    (on_tmpfs / "names").write_text("x\n")
    copied = hpcp_mpi.copy(on_tmpfs / "src", on_tmpfs / "dst", source_file_list=on_tmpfs / "names")
    assert copied.outcome.copied.files == 1 and (on_tmpfs / "dst/x").exists()


def test_the_report_tells_where_it_is_from_and_is_the_json_of_the_command(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"x": File(b"x")})
    said = hpcp_mpi.copy(on_tmpfs / "src", on_tmpfs / "dst", exclude_optional=["a b"], hash_size="1M").as_dict()
    assert said["command"] == [
        *("hpcp-mpi", "-d", str(on_tmpfs / "dst"), "-eo", "a b", "--hash_size", "1048576", str(on_tmpfs / "src"))
    ]
    assert said["version"] == hpcp_mpi.__version__ and said["host"] == os.uname().nodename and said["processes"] == 1
