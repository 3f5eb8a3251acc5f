"""Files whose lstats are equal are looked at in a tight loop: what is not the same is found, repaired or named."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host import dirfd as dirs
from hpcp_mpi.host.commands import Commands
from hpcp_mpi.operations.copy.check import check
from hpcp_mpi.operations.prepare.arguments import root_of
from hpcp_mpi.vocab.abilities import Abilities
from hpcp_mpi.vocab.job import Job
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.units import Batch, Kind, Units
from tests.support import oracle
from tests.support.marks import needs_root
from tests.support.trees import File, build, encode_acl

T = 1_600_000_000 * 10**9
ACL = encode_acl("u::rw-,u:65534:r--,g::r--,m::r--,o::r--")
NAMES = [b"a", b"f", b"z"]
CONTENT = bytes(range(256)) * 600  # more than a tail


@dataclass
class Checked:
    """What became of a, f and z."""

    src: Path
    dst: Path
    to_copy: list[bytes]
    outcome: Outcome


@pytest.fixture
def pair(on_tmpfs: Path) -> tuple[Path, Path]:
    for root in ("src", "dst"):
        build(on_tmpfs / root, {name: File(CONTENT, mtime_ns=T) for name in NAMES})
    return on_tmpfs / "src", on_tmpfs / "dst"


def checked(pair: tuple[Path, Path], **options: object) -> Checked:
    """Check the three as the listing found them before anything happened: equal in all of lstat."""
    source, dest = (root_of(os.fsencode(path)) for path in pair)
    job = Job(Options(**options), (source,), "token", dest.path, dest, abilities=Abilities())  # type: ignore[arg-type]
    place, outcome = JobContext(job, Commands(), 1), Outcome()
    batch = Batch(Kind.CHECK, 0, b"", b"", Units(NAMES, [len(CONTENT)] * 3, most=job.options.hash_size), equal=True)
    found = check(place, batch, outcome)
    place.release()
    assert (found.kind, found.equal) == (Kind.COPY, False)
    assert outcome.skipped.files + outcome.updated.files + len(found.units) + len(outcome.failures) == 3
    return Checked(*pair, found.units.names, outcome)


def keep_time(path: Path) -> None:
    os.utime(path, ns=(T, T))


def other_tail(path: Path) -> None:
    path.write_bytes(CONTENT[:-1] + b"#")
    keep_time(path)


def other_head(path: Path) -> None:
    path.write_bytes(b"#" + CONTENT[1:])
    keep_time(path)


def symlink(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def shorter(path: Path) -> None:
    os.truncate(path, 5)
    keep_time(path)


MODES = pytest.mark.parametrize(
    "options",
    [{"hash_size": 0}, {}, {"hash_size": 9 << 20}, {"full_hash": True}],
    ids=["lstat", "tails", "long-tails", "whole"],
)


@MODES
def test_true_copies_are_skipped(options: dict[str, object], pair: tuple[Path, Path]) -> None:
    found = checked(pair, **options)
    assert found.to_copy == [] and found.outcome.skipped.files == 3
    assert found.outcome.skipped.bytes == 3 * len(CONTENT)


@pytest.mark.parametrize("happened", [Path.unlink, symlink, fifo, directory, shorter])
@pytest.mark.parametrize("options", [{}, {"full_hash": True}], ids=["tails", "whole"])
def test_what_happened_to_a_copy_meanwhile_is_found(
    options: dict[str, object], happened: Callable[[Path], None], pair: tuple[Path, Path]
) -> None:
    happened(pair[1] / "f")
    found = checked(pair, **options)
    assert found.to_copy == [b"f"] and found.outcome.failures == []
    assert found.outcome.skipped.files == 2


@pytest.mark.parametrize("happened", [Path.unlink, symlink, fifo, directory])
def test_what_happened_to_a_source_meanwhile_is_found(
    happened: Callable[[Path], None], pair: tuple[Path, Path]
) -> None:
    happened(pair[0] / "f")
    found = checked(pair)
    vanished = [(failure.path, failure.vanished) for failure in found.outcome.failures]
    assert (found.to_copy, vanished) in [([b"f"], []), ([], [(os.fsencode(pair[0] / "f"), True)])]
    assert bool(vanished) == (happened is Path.unlink)


SEEN = [(other_tail, [], [b"f"], [b"f"], [b"f"]), (other_head, [], [], [b"f"], [b"f"])]


@pytest.mark.parametrize("change, lstat, tails, long_tails, whole", SEEN)
def test_as_much_of_the_content_is_compared_as_was_asked_for(
    change: Callable[[Path], None],
    lstat: list[bytes],
    tails: list[bytes],
    long_tails: list[bytes],
    whole: list[bytes],
    pair: tuple[Path, Path],
) -> None:
    change(pair[1] / "f")
    assert checked(pair, hash_size=0).to_copy == lstat
    assert checked(pair).to_copy == tails
    assert checked(pair, hash_size=9 << 20).to_copy == long_tails
    assert checked(pair, full_hash=True).to_copy == whole


ATTRIBUTES: dict[str, Callable[[Path], None]] = {
    "xattr": lambda path: os.setxattr(path, "user.a", b"b"),
    "acl": lambda path: os.setxattr(path, "system.posix_acl_access", ACL),
}


@MODES
@pytest.mark.parametrize("own_directory", [True, False], ids=["entered", "through-proc"])
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_attributes_on_either_side_alone_are_repaired(
    kind: str,
    side: int,
    own_directory: bool,
    options: dict[str, object],
    pair: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not own_directory:
        monkeypatch.setattr(dirs, "_unshare", lambda flags: -1)
    ATTRIBUTES[kind](pair[side] / "f")
    keep_time(pair[side] / "f")
    found = in_a_thread(lambda: checked(pair, **options))
    assert found.to_copy == [] and (found.outcome.updated.files, found.outcome.skipped.files) == (1, 2)
    oracle.assert_equal_trees(*pair, top=False)
    assert checked(pair, **options).outcome.skipped.files == 3


def in_a_thread(do: Callable[[], Checked]) -> Checked:
    """Only threads can have working directories of their own."""
    before = os.getcwd()
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(do).result()
    assert os.getcwd() == before
    return found


@MODES
def test_equal_attributes_on_both_sides_are_equal(options: dict[str, object], pair: tuple[Path, Path]) -> None:
    for root in pair:
        for set_on in ATTRIBUTES.values():
            set_on(root / "f")
        keep_time(root / "f")
    assert checked(pair, **options).outcome.skipped.files == 3


def test_a_dry_run_tells_and_repairs_nothing(pair: tuple[Path, Path]) -> None:
    os.setxattr(pair[0] / "f", "user.a", b"b")
    found = checked(pair, hash_size=0, dry_run=True, itemize=True)
    assert found.outcome.items == [(".f........x", b"f", b"")]
    assert os.listxattr(pair[1] / "f") == []


@needs_root
@pytest.mark.parametrize("side, copied", [("src", []), ("dst", [b"f"])])
def test_a_file_that_cannot_be_read_is_named_or_copied_anew(
    side: str, copied: list[bytes], pair: tuple[Path, Path]
) -> None:
    for root in pair:
        (root / "f").chmod(0o644 if side not in os.fspath(root) else 0)
    os.chown(pair[0].parent, 0, 0)
    pair[0].parent.chmod(0o755)
    os.seteuid(65534)
    try:
        found = checked(pair)
    finally:
        os.seteuid(0)
    assert found.to_copy == copied
    assert [failure.path for failure in found.outcome.failures] == ([] if copied else [os.fsencode(pair[0] / "f")])
