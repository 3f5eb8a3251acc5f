"""The API's functions that do not copy: their signatures and what `help()` says of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hpcp_mpi.api.keywords import Path, Paths, Rate, Size, carried_out, refusing

if TYPE_CHECKING:
    from hpcp_mpi.vocab.ledger_status import LedgerStatus
    from hpcp_mpi.vocab.progress import Progress
    from hpcp_mpi.vocab.report import Report


@refusing
def compare(
    sources: Paths,
    destination: Path | None = None,
    *,
    target_file_list: Path | None = None,
    diff_file_list: Path | None = None,
    tar_diff_file_list: bool = False,
    no_hash_file_list: bool = False,
    null: bool = False,
    exclude: Paths = (),
    exclude_file: Paths = (),
    exclude_optional: Paths = (),
    exclude_file_optional: Paths = (),
    no_directory_sync: bool = False,
    content_only: bool = False,
    strict_metadata: bool = False,
    hash_size: Size = "64K",
    full_hash: bool = False,
    modify_window: float = 0.0,
    max_workers: int | None = None,
    single_thread: bool = False,
    parallel_file_listing: bool = False,
    files_per_job: int = 8000,
    chunk_size: Size = "512M",
    chunk_seconds: float = 2.0,
    ledger: Path | None = None,
    resume: bool = False,
    stop_before: float | None = None,
    heartbeat_timeout: float = 60.0,
    progress: Callable[[Progress], object] | None = None,
    should_stop: Callable[[], object] | None = None,
    join_timeout: float = 60.0,
) -> Report:
    """Compare sources with destination, as `hpcp-mpi -cfl SOURCE... -d DESTINATION` does. Neither is written to.

    >>> report = hpcp_mpi.compare("run1", "backup")
    >>> report.exit_code, report.differences
    (3, {'added': 1, 'modified': 0, 'deleted': 0})
    >>> report.paths["added"]
    [b'c.tmp']

    differences holds how many entries only the sources have (added), both (modified), and only the destination
    (deleted); paths which, below the destination, or None if they are very many. exit_code is 3 if there are any.

    target_file_list       compare with this list, as list_files() writes one, instead of with a destination
    diff_file_list         write a table of the differences to this file; tar_diff_file_list: names for tar -T
    no_hash_file_list, null
                           lists are names without hashes; each ends in NUL

    The others are those of copy().
    """
    return carried_out("compare", locals())


@refusing
def verify(
    sources: Paths,
    destination: Path,
    *,
    exclude: Paths = (),
    exclude_file: Paths = (),
    exclude_optional: Paths = (),
    exclude_file_optional: Paths = (),
    no_directory_sync: bool = False,
    content_only: bool = False,
    strict_metadata: bool = False,
    modify_window: float = 0.0,
    max_workers: int | None = None,
    single_thread: bool = False,
    parallel_file_listing: bool = False,
    files_per_job: int = 8000,
    chunk_size: Size = "512M",
    chunk_seconds: float = 2.0,
    ledger: Path | None = None,
    resume: bool = False,
    stop_before: float | None = None,
    heartbeat_timeout: float = 60.0,
    progress: Callable[[Progress], object] | None = None,
    should_stop: Callable[[], object] | None = None,
    join_timeout: float = 60.0,
) -> Report:
    """Compare sources with destination, every byte of it: compare() with full_hash.

    >>> hpcp_mpi.verify("run1", "backup").exit_code
    0

    copy(..., verify=True) reads what it copies again, and nothing else.
    """
    return carried_out("verify", locals())


@refusing
def list_files(
    sources: Paths,
    file: Path,
    *,
    hashes: bool = True,
    null: bool = False,
    exclude: Paths = (),
    exclude_file: Paths = (),
    exclude_optional: Paths = (),
    exclude_file_optional: Paths = (),
    hash_size: Size = "64K",
    full_hash: bool = False,
    max_workers: int | None = None,
    single_thread: bool = False,
    files_per_job: int = 8000,
    chunk_size: Size = "512M",
    chunk_seconds: float = 2.0,
    ledger: Path | None = None,
    resume: bool = False,
    stop_before: float | None = None,
    heartbeat_timeout: float = 60.0,
    progress: Callable[[Progress], object] | None = None,
    should_stop: Callable[[], object] | None = None,
    join_timeout: float = 60.0,
) -> Report:
    """Write a list of what sources hold to file, as `hpcp-mpi -fl FILE SOURCE...` does.

    >>> hpcp_mpi.list_files("run1", "run1.list")
    <Report list: 3 files listed, exit code 0>

    hashes                 with the hash of each file, of as many bytes as hash_size and full_hash say
    null                   names alone, each ended by NUL

    The others are those of copy().
    """
    return carried_out("list_files", locals())


@refusing
def remove(
    paths: Paths,
    *,
    exclude: Paths = (),
    exclude_file: Paths = (),
    exclude_optional: Paths = (),
    exclude_file_optional: Paths = (),
    unmatched_excludes: bool = False,
    max_delete: int | None = None,
    dry_run: bool = False,
    itemize: bool = False,
    file_rate_limit: Rate = 0,
    max_workers: int | None = None,
    single_thread: bool = False,
    files_per_job: int = 8000,
    chunk_size: Size = "512M",
    chunk_seconds: float = 2.0,
    ledger: Path | None = None,
    resume: bool = False,
    stop_before: float | None = None,
    heartbeat_timeout: float = 60.0,
    progress: Callable[[Progress], object] | None = None,
    should_stop: Callable[[], object] | None = None,
    join_timeout: float = 60.0,
) -> Report:
    """REMOVE paths and all below them, as `hpcp-mpi -rm -rf PATH...` does. Links are removed, not what they lead to.

    >>> hpcp_mpi.remove("run1", dry_run=True)
    <Report remove (dry run): 4 removed, exit code 0>

    Nothing is asked: to call it is to agree. max_delete, unmatched_excludes: see mirror(); the others: copy().
    """
    return carried_out("remove", locals())


@refusing
def status(ledger: Path) -> LedgerStatus:
    """Return what the ledger of a run says, as `hpcp-mpi --status LEDGER` shows it. It is not collective.

    >>> report = hpcp_mpi.copy("run1", "backup", ledger="run1.ledger")
    >>> hpcp_mpi.status("run1.ledger").condition
    'ended'

    condition is running, silent, gone, broken, stopped (resumable) or ended; runs are those that wrote it, latest the
    last checkpoint with its tallies, failures and notes. as_dict() returns all of it as JSON can hold it.
    """
    from hpcp_mpi.api.ledgers import refuse_to_read
    from hpcp_mpi.api.values import path
    from hpcp_mpi.ledger.reader import read

    place = path("status(): ledger", ledger)
    refuse_to_read(place)
    return read(place)
