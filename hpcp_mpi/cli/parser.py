"""The command line: hpcp's options, and some of our own."""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcp_mpi.cli.sizes import parse_size
from hpcp_mpi.vocab.errors import EXIT_CODES, FatalError, UsageError
from hpcp_mpi.vocab.options import (
    DEFAULT_CHUNK_FILES,
    DEFAULT_CHUNK_SECONDS,
    DEFAULT_CHUNK_SIZE,
    DEFAULT_HASH_SIZE,
    DEFAULT_SPLIT_SIZE,
    MIB,
    CopyOptions,
)

DEFAULT_INTERVAL = 10.0  # seconds

_EPILOG = """\
where things land:
  SRC DST, SRC -d DST    the contents of directory SRC in DST; file SRC as DST, or in DST if that is a directory
  SRC -d DST/            DST/SRC
  SRC/ -d DST            the contents of SRC in DST
  SRC1 SRC2 -d DST       DST/SRC1 and DST/SRC2

examples:
  hpcp-mpi /scratch/run1 /project/run1                on this machine
  mpiexec -n 4 hpcp-mpi /scratch/run1 /project/run1   with 4 ranks: rank 0 plans, 3 copy
  srun -n 64 --mpi=pmi2 hpcp-mpi /old/proj -d /new/   in a Slurm job, MPICH flavour; lands in /new/proj
  hpcp-mpi -n -hs 0 src dst                           what would be done, judged by size and mtime alone
  hpcp-mpi -e '*.tmp' -e cache src dst                without these
  hpcp-mpi --json report.json src dst                 and a report for machines

exit codes:
"""


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    sources: list[bytes]
    destination: bytes
    options: CopyOptions
    version: bool = False
    verbose: bool = False
    progress_interval: float = DEFAULT_INTERVAL
    json: Path | None = None


def _amount(parse: Callable[[str], int]) -> Callable[[str], int]:
    def checked(text: str) -> int:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked


def _at_least(lowest: float, convert: Callable[[str], float] = float) -> Callable[[str], float]:
    def checked(text: str) -> float:
        try:
            value = convert(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"not a number: {text!r}") from None
        if not value >= lowest:
            raise argparse.ArgumentTypeError(f"must be {lowest:g} or more, not {text}")
        return value

    return checked


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    codes = "".join(f"  {code:<4} {meaning}\n" for code, meaning in EXIT_CODES.items())
    parser = argparse.ArgumentParser(
        prog="hpcp-mpi",
        usage="hpcp-mpi [options] SRC... DST\n       hpcp-mpi [options] SRC... -d DST",
        description="Copy and re-sync file trees with all nodes of an MPI or Slurm job, each running local cp workers.",
        epilog=_EPILOG + codes,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    _add_what(parser)
    _add_identical(parser)
    _add_work(parser)
    _add_shown(parser)
    return parser


def _add_what(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what to copy, and where to")
    add = what.add_argument
    add(
        "src_path",
        nargs="*",
        metavar="SRC",
        help="files and directories; a pattern is expanded if nothing has its name",
    )
    add("-d", "-C", "--dest_path", "--dest-path", metavar="DST", help="the destination (default: the last SRC)")
    add(
        "-e",
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out what matches; * matches / too, and without a leading / a pattern matches at any depth",
    )
    add(
        "-x",
        "--exclude_file",
        "--exclude-file",
        action="append",
        default=[],
        metavar="FILE",
        help="read patterns from FILE, one a line; # begins a comment",
    )
    add(
        "-do", "--directory_only", "--directory-only", action="store_true", help="only directories, with their metadata"
    )
    add(
        "-nds",
        "--no_directory_sync",
        "--no-directory-sync",
        action="store_true",
        help="do not set the metadata of directories",
    )
    add(
        "-b", "--batch", action="store_true", help="one plan over all sources: always so here, accepted for hpcp's sake"
    )
    add(
        "-n",
        "--dry-run",
        "--dry_run",
        action="store_true",
        help="change nothing; list what would be done, as rsync -n -i",
    )


def _add_identical(parser: argparse.ArgumentParser) -> None:
    identical = parser.add_argument_group("what counts as identical, and is not copied again")
    add = identical.add_argument
    add(
        "-hs",
        "--hash_size",
        "--hash-size",
        type=_amount(parse_size),
        default=DEFAULT_HASH_SIZE,
        metavar="SIZE",
        help="besides path, size and mtime, compare the last SIZE bytes (default 64K; 0: none)",
    )
    add("-fh", "--full_hash", "--full-hash", action="store_true", help="compare whole files; wins over -hs")
    add(
        "--modify-window",
        "--modify_window",
        type=_at_least(0),
        default=0.0,
        metavar="SECONDS",
        help="mtimes this near are equal (default 0: exact, or as exact as the destination can store)",
    )


def _add_work(parser: argparse.ArgumentParser) -> None:
    work = parser.add_argument_group("how it works")
    add = work.add_argument
    add(
        "-j",
        "-m",
        "-t",
        "--max_workers",
        "--max-workers",
        type=int,
        metavar="N",
        help="cp jobs at once on each rank. 0: half its CPUs, -N: N per CPU, default: 4 per CPU; "
        "CPUs are shared out among the ranks on them",
    )
    add("-s", "--single_thread", "--single-thread", action="store_true", help="one job at a time, on one rank")
    add(
        "-f",
        "--files_per_job",
        "--files-per-job",
        type=_at_least(1, int),
        default=DEFAULT_CHUNK_FILES,
        metavar="N",
        help=f"so many files make a chunk, however small they are (default {DEFAULT_CHUNK_FILES})",
    )
    add(
        "--chunk-size",
        "--chunk_size",
        type=_amount(parse_size),
        default=DEFAULT_CHUNK_SIZE,
        metavar="SIZE",
        help=f"so many bytes make a chunk (default {DEFAULT_CHUNK_SIZE // MIB}M)",
    )
    add(
        "--chunk-seconds",
        "--chunk_seconds",
        type=_at_least(0.01),
        default=DEFAULT_CHUNK_SECONDS,
        metavar="SECONDS",
        help="how long a chunk is to keep a job busy, once it is known how long things take (default 2)",
    )
    add(
        "--split-size",
        "--split_size",
        type=_amount(parse_size),
        default=DEFAULT_SPLIT_SIZE,
        metavar="SIZE",
        help="copy files of this size and more in ranges of this size, on several ranks at once "
        f"(default {DEFAULT_SPLIT_SIZE // MIB}M; 0: never)",
    )
    add(
        "--io-size",
        "--io_size",
        type=_amount(parse_size),
        default=0,
        metavar="SIZE",
        help="bytes read and written at once of such a range (default: the file system's block size, 4M at least)",
    )
    add(
        "--drop-cache",
        "--drop_cache",
        action="store_true",
        help="forget the pages of such files again, so that the copy does not push out what others use",
    )
    add(
        "-pfl",
        "--parallel_file_listing",
        "--parallel-file-listing",
        action="store_const",
        const=True,
        help="all ranks list and compare directories, instead of rank 0 alone; always so if the destination holds "
        "something already",
    )
    add(
        "--sparse",
        choices=("auto", "always", "never"),
        default="auto",
        help="holes in files, as cp does (default auto)",
    )
    add(
        "--reflink", choices=("auto", "always", "never"), default="auto", help="share blocks, as cp does (default auto)"
    )


def _add_shown(parser: argparse.ArgumentParser) -> None:
    shown = parser.add_argument_group("what is shown")
    add = shown.add_argument
    add("-v", "--verbose", action="store_true", help="list every entry that is changed, as rsync -i")
    add(
        "--progress-interval",
        "--progress_interval",
        type=_at_least(0),
        default=DEFAULT_INTERVAL,
        metavar="SECONDS",
        help="between lines of progress where there is no terminal (default 10; 0: none)",
    )
    add("--json", metavar="FILE", help="write the report to FILE")
    add("-V", "--version", action="store_true", help="name the versions of this program and of what it uses")
    add("-h", "--help", action="help", help="show this text")


def parse(arguments: Sequence[str], exclude_lines: Callable[[bytes], list[bytes]]) -> Request:
    """Return what arguments ask for. Raises SystemExit (help, usage errors), UsageError, FatalError.

    exclude_lines: reads the patterns of an exclude file's content.
    """
    parser = build_parser()
    words = list(arguments)
    # argparse loses a `--` when positionals are intermixed, and takes what follows it for options.
    end = words.index("--") if "--" in words else len(words)
    given = parser.parse_intermixed_args(words[:end])
    given.src_path += words[end + 1 :]
    options = CopyOptions(
        hash_size=given.hash_size,
        full_hash=given.full_hash,
        modify_window=given.modify_window,
        excludes=(*map(os.fsencode, given.exclude), *_excludes(given.exclude_file, exclude_lines)),
        directory_only=given.directory_only,
        directory_sync=not given.no_directory_sync,
        sparse=given.sparse,
        reflink=given.reflink,
        slots=given.max_workers,
        single=given.single_thread,
        chunk_size=max(1, given.chunk_size),
        chunk_files=int(given.files_per_job),
        chunk_seconds=given.chunk_seconds,
        parallel_listing=given.parallel_file_listing,
        split_size=given.split_size,
        io_size=given.io_size,
        drop_cache=given.drop_cache,
        dry_run=given.dry_run,
        itemize=given.dry_run or given.verbose,
    )
    if given.version:
        return Request([], b"", options, version=True)
    sources, destination = _places([os.fsencode(path) for path in given.src_path], given.dest_path)
    if options.directory_only and not options.directory_sync:
        raise UsageError("-do copies directories with their metadata, and -nds forbids that", "Give one of them.")
    json = Path(given.json) if given.json else None
    return Request(sources, destination, options, False, given.verbose, given.progress_interval, json)


def _places(paths: list[bytes], destination: str | None) -> tuple[list[bytes], bytes]:
    if destination is not None:
        if not destination:
            raise UsageError("the destination given with -d is empty")
        if not paths:
            raise UsageError("no source was given", "hpcp-mpi SRC... -d DST")
        return paths, os.fsencode(destination)
    if len(paths) < 2:
        missing = "a source and a destination" if not paths else "a destination"
        raise UsageError(f"{missing} must be given", "hpcp-mpi SRC... DST, or hpcp-mpi SRC... -d DST; see hpcp-mpi -h")
    if not all(paths):
        raise UsageError("an argument is empty")
    return paths[:-1], paths[-1]


def _excludes(files: list[str], exclude_lines: Callable[[bytes], list[bytes]]) -> list[bytes]:
    patterns: list[bytes] = []
    for name in files:
        try:
            patterns += exclude_lines(Path(name).read_bytes())
        except OSError as error:
            raise FatalError(f"cannot read the exclude file {name}: {error.strerror}") from None
    return patterns
