"""The API's functions that copy: their signatures and what `help()` says of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from hpcp_mpi.api.keywords import Path, Paths, Rate, Size, carried_out, refusing

if TYPE_CHECKING:
    from hpcp_mpi.vocab.progress import Progress
    from hpcp_mpi.vocab.report import Report

When = Literal["auto", "always", "never"]


@refusing
def copy(
    sources: Paths,
    destination: Paths,
    *,
    exclude: Paths = (),
    exclude_file: Paths = (),
    exclude_optional: Paths = (),
    exclude_file_optional: Paths = (),
    source_file_list: Path | None = None,
    null: bool = False,
    directory_only: bool = False,
    no_directory_sync: bool = False,
    content_only: bool = False,
    strict_metadata: bool = False,
    link_tracking: bool = False,
    no_link_tracking: bool = False,
    dry_run: bool = False,
    itemize: bool = False,
    verify: bool = False,
    hash_size: Size = "64K",
    full_hash: bool = False,
    modify_window: float = 0.0,
    backup_dir: Path | None = None,
    random_dest_selection: bool = False,
    no_create_dir: bool = False,
    target_file_system: str = "",
    exit_not_enough_space: bool = False,
    sequential: bool = False,
    rate_limit: Rate = 0,
    file_rate_limit: Rate = 0,
    max_workers: int | None = None,
    single_thread: bool = False,
    parallel_file_listing: bool = False,
    command_timeout_limit: float = 0.0,
    files_per_job: int = 8000,
    chunk_size: Size = "512M",
    chunk_seconds: float = 2.0,
    split_size: Size = "256M",
    io_size: Size = 0,
    drop_cache: bool = False,
    sparse: When = "auto",
    reflink: When = "auto",
    ledger: Path | None = None,
    resume: bool = False,
    stop_before: float | None = None,
    heartbeat_timeout: float = 60.0,
    progress: Callable[[Progress], object] | None = None,
    should_stop: Callable[[], object] | None = None,
    join_timeout: float = 60.0,
) -> Report:
    """Copy sources to destination, as `hpcp-mpi SOURCE... -d DESTINATION` does.

    >>> hpcp_mpi.copy("run1", "backup", exclude="*.tmp")
    <Report copy: 2 files, 12 B copied, exit code 0>

    What is identical is not copied again. Where sources land is the command's rule: the contents of one directory in
    destination, of several in a directory of its name each, as `cp -r` does if destination is there already.

    sources                one path or several; a pattern is expanded if nothing has its name
    destination            one path; over several, files are spread
    exclude                patterns of what is left out: at any depth without a leading /, directories with one at the
                           end; exclude_optional: patterns that may match nothing
    exclude_file           files with such patterns, one a line; exclude_file_optional: that may match nothing
    source_file_list       a file with the names to copy, relative to the source; null: each ends in NUL
    directory_only, no_directory_sync, content_only
                           only directories; without directories' metadata; without any metadata
    strict_metadata        what the destination cannot store of metadata is a failure, not a note
    link_tracking, no_link_tracking
                           copy what relative links lead to also outside of destination; never
    dry_run                change nothing; with itemize, outcome.items of the report says what would be changed
    itemize                (change, path, link's target) of every entry in outcome.items, as rsync -i
    verify                 read every copy again and compare it with its source
    hash_size, full_hash, modify_window
                           what identical means: bytes compared at a file's end, or all; seconds between mtimes
    backup_dir             move there what would be replaced
    rate_limit, file_rate_limit
                           bytes and files a second, all ranks together: 500_000_000 or "500M"; 0: no limit
    max_workers            jobs at once on each rank; None: four per CPU, 0: half its CPUs, -N: N per CPU;
                           single_thread: one on one rank
    ledger, resume         a file to record the run in; resume the run that is in it
    stop_before            minutes before the end of the Slurm job, to stop in good order
    progress               is called with a Progress about five times a second and at the end, in this thread
    should_stop            is asked as often; when it is true the run ends in good order, with exit_code 75
    join_timeout           seconds in which all ranks have to call this, under MPI

    Others are the command's long options of that name: `hpcp-mpi --help`.
    """
    return carried_out("copy", locals())


@refusing
def mirror(
    sources: Paths,
    destination: Paths,
    *,
    exclude: Paths = (),
    exclude_file: Paths = (),
    exclude_optional: Paths = (),
    exclude_file_optional: Paths = (),
    unmatched_excludes: bool = False,
    delete_excluded: bool = False,
    max_delete: int | None = None,
    backup_dir: Path | None = None,
    directory_only: bool = False,
    no_directory_sync: bool = False,
    content_only: bool = False,
    strict_metadata: bool = False,
    link_tracking: bool = False,
    no_link_tracking: bool = False,
    dry_run: bool = False,
    itemize: bool = False,
    verify: bool = False,
    hash_size: Size = "64K",
    full_hash: bool = False,
    modify_window: float = 0.0,
    random_dest_selection: bool = False,
    no_create_dir: bool = False,
    target_file_system: str = "",
    exit_not_enough_space: bool = False,
    sequential: bool = False,
    rate_limit: Rate = 0,
    file_rate_limit: Rate = 0,
    max_workers: int | None = None,
    single_thread: bool = False,
    parallel_file_listing: bool = False,
    command_timeout_limit: float = 0.0,
    files_per_job: int = 8000,
    chunk_size: Size = "512M",
    chunk_seconds: float = 2.0,
    split_size: Size = "256M",
    io_size: Size = 0,
    drop_cache: bool = False,
    sparse: When = "auto",
    reflink: When = "auto",
    ledger: Path | None = None,
    resume: bool = False,
    stop_before: float | None = None,
    heartbeat_timeout: float = 60.0,
    progress: Callable[[Progress], object] | None = None,
    should_stop: Callable[[], object] | None = None,
    join_timeout: float = 60.0,
) -> Report:
    """Copy, then REMOVE from destination what no source has, as `hpcp-mpi SOURCE... -d DESTINATION -rme -rf` does.

    >>> hpcp_mpi.mirror("run1", "backup", max_delete=1000)
    <Report mirror: 1 file, 3 B copied, exit code 0>

    Nothing is asked: to call it is to agree. Nothing is removed after a failure that leaves doubt.

    max_delete             remove nothing if it were more entries (exit_code 25)
    backup_dir             move there what would be removed or replaced
    delete_excluded        remove what is excluded from destination, too; else it stays
    unmatched_excludes     remove although a pattern of exclude matched nothing, which may be mistyped

    The others are those of copy().
    """
    return carried_out("mirror", locals())


@refusing
def move(
    sources: Paths,
    destination: Paths,
    *,
    exclude: Paths = (),
    exclude_file: Paths = (),
    exclude_optional: Paths = (),
    exclude_file_optional: Paths = (),
    unmatched_excludes: bool = False,
    accept_loss: bool = False,
    max_delete: int | None = None,
    backup_dir: Path | None = None,
    no_directory_sync: bool = False,
    content_only: bool = False,
    strict_metadata: bool = False,
    link_tracking: bool = False,
    no_link_tracking: bool = False,
    dry_run: bool = False,
    itemize: bool = False,
    verify: bool = False,
    hash_size: Size = "64K",
    full_hash: bool = False,
    modify_window: float = 0.0,
    random_dest_selection: bool = False,
    no_create_dir: bool = False,
    target_file_system: str = "",
    exit_not_enough_space: bool = False,
    sequential: bool = False,
    rate_limit: Rate = 0,
    file_rate_limit: Rate = 0,
    max_workers: int | None = None,
    single_thread: bool = False,
    parallel_file_listing: bool = False,
    command_timeout_limit: float = 0.0,
    files_per_job: int = 8000,
    chunk_size: Size = "512M",
    chunk_seconds: float = 2.0,
    split_size: Size = "256M",
    io_size: Size = 0,
    drop_cache: bool = False,
    sparse: When = "auto",
    reflink: When = "auto",
    ledger: Path | None = None,
    resume: bool = False,
    stop_before: float | None = None,
    heartbeat_timeout: float = 60.0,
    progress: Callable[[Progress], object] | None = None,
    should_stop: Callable[[], object] | None = None,
    join_timeout: float = 60.0,
) -> Report:
    """Copy, then REMOVE from the sources what has a checked copy, as `hpcp-mpi SOURCE... -d DESTINATION -rm -rf` does.

    >>> hpcp_mpi.move("run1", "archive")
    <Report move: 3 files, 15 B copied, 4 removed, exit code 0>

    Nothing is asked: to call it is to agree. What failed, changed meanwhile or lacks metadata stays and is named.

    accept_loss            remove what has a whole copy also if that lacks owner, mode, ACLs or attributes
    max_delete             remove nothing if it were more entries (exit_code 25)
    unmatched_excludes     remove although a pattern of exclude matched nothing, which may be mistyped

    The others are those of copy().
    """
    return carried_out("move", locals())
