"""Files whose content is not st_size: those of /proc are read to their end, one that grows is said to have changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import xxhash

import hpcp_mpi
from hpcp_mpi.vocab.tally import Tally
from tests.support import verified
from tests.support.trees import File, build

MEMORY = Path("/proc/sys/vm")
STABLE = ("swappiness", "overcommit_memory", "dirty_ratio")
T = 1_600_000_000 * 10**9


@pytest.fixture
def readable(on_tmpfs: Path) -> Path:
    if not all((MEMORY / name).is_file() for name in STABLE):
        pytest.skip("no /proc/sys/vm")
    return on_tmpfs


@pytest.mark.parametrize(
    "sources", [[MEMORY / name for name in STABLE], [Path("/proc/cmdline"), Path("/proc/version")]]
)
def test_copies_of_proc_are_verified_to_their_ends(sources: list[Path], readable: Path) -> None:
    dst = readable / "dst"
    dst.mkdir()
    report = hpcp_mpi.copy(sources, dst, verify=True)
    assert report.failures == [] and not [note for _, note in report.outcome.notes if "again" in note]
    assert all((dst / source.name).read_bytes() == source.read_bytes() for source in sources)
    assert report.outcome.verified.files == report.outcome.copied.files == len(sources)
    (dst / sources[0].name).write_bytes(b"other")


def test_one_that_cannot_be_read_does_not_spoil_those_beside_it(on_tmpfs: Path) -> None:
    """With the reason of each that fails; a size of 0 is not taken for a copy that is broken off."""
    route = Path("/proc/sys/net/ipv4/route")
    secret = {str(path) for path in route.iterdir() if not _can_be_read(path)}
    assert secret, "flush is only written to"
    report = hpcp_mpi.copy([route], on_tmpfs / "dst")
    assert {os.fsdecode(path): reason for path, reason, *_ in report.failures} == dict.fromkeys(
        secret, "cp cannot open for reading: Permission denied"
    )
    for path in set(route.iterdir()) - set(map(Path, secret)):
        assert (on_tmpfs / "dst" / path.name).read_bytes() == path.read_bytes()


def _can_be_read(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def test_a_copy_of_proc_that_is_not_equal_is_found(readable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, dst = MEMORY / STABLE[0], readable / "dst"
    dst.mkdir()
    with verified.meddling(monkeypatch, verified.Times(verified.flip, [STABLE[0].encode()])):
        report = hpcp_mpi.copy([source, MEMORY / STABLE[1]], dst, verify=True)
    assert [note for _, note in report.outcome.notes if "copied again" in note]
    assert (dst / STABLE[0]).read_bytes() == source.read_bytes() and report.failures == []


def test_lists_have_the_hashes_of_what_is_read(readable: Path) -> None:
    """An empty file before it, and a file that cannot be asked for its end."""
    hpcp_mpi.list_files([MEMORY / STABLE[0], Path("/proc/self/limits"), Path("/proc/cmdline")], readable / "list")
    lines = dict(line.rsplit(":", 1) for line in (readable / "list").read_text().splitlines())
    for path in (MEMORY / STABLE[0], Path("/proc/self/limits"), Path("/proc/cmdline")):
        (found,) = [value for name, value in lines.items() if name.endswith(path.name)]
        assert found == xxhash.xxh64_hexdigest(path.read_bytes()), path


def test_what_grows_is_said_to_have_changed_and_nothing_is_below_zero(
    on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(on_tmpfs / "src", {"log": File(b"line\n", mtime_ns=T)})
    times = iter(range(99))

    def grow(directory: int, name: bytes) -> None:
        with open(on_tmpfs / "src/log", "ab") as log:
            log.write(b"another line\n" * 100)
        os.utime(on_tmpfs / "src/log", ns=(T, T + 10**9 * (1 + next(times))))

    with verified.meddling(monkeypatch, grow):
        report = hpcp_mpi.copy(on_tmpfs / "src", on_tmpfs / "dst", verify=True)
    (failure,) = report.failures
    assert "it changed while it was copied" in failure.reason
    assert all(count >= 0 for tally in (report.outcome.copied, report.left, report.scanned) for count in tally)
    assert report.outcome.copied == Tally(directories=1)
