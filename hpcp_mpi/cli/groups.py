"""The options, group by group, as `hpcp-mpi -h` shows them. An option `--a_b` is also known as `--a-b`."""

from typing import Any, Protocol

from hpcp_mpi.cli.sizes import at_least, parse_size
from hpcp_mpi.vocab.options import (
    DEFAULT_CHUNK_FILES,
    DEFAULT_CHUNK_SECONDS,
    DEFAULT_CHUNK_SIZE,
    DEFAULT_HASH_SIZE,
    DEFAULT_SPLIT_SIZE,
    MIB,
)

DEFAULT_INTERVAL = 10.0  # seconds


class Group(Protocol):
    """Options under one heading."""

    def add(self, *names: str, **settings: Any) -> None:
        """Add an option, as argparse's add_argument. A `type` may raise ValueError with words for the user."""

    def either(self) -> "Group":
        """Return a group of options that exclude each other."""


class Parser(Protocol):
    """What groups are added to."""

    def group(self, title: str) -> Group: ...


def add_what(parser: Parser) -> None:
    what = parser.group("what to copy, and where to")
    add = what.add
    add(
        "src_path",
        nargs="*",
        metavar="SRC",
        help="files and directories; a pattern is expanded if nothing has its name",
    )
    add(
        "-d",
        "-C",
        "--dest_path",
        action="append",
        metavar="DST",
        help="the destination (default: the last SRC); given several times, files are spread over them by free space",
    )
    add(
        "-rds",
        "--random_dest_selection",
        action="store_true",
        help="spread files over several destinations at random",
    )
    add(
        "-ncd",
        "--no_create_dir",
        action="store_true",
        help="leave out destinations that do not exist, instead of making them",
    )
    add(
        "-tfs",
        "--target_file_system",
        default="",
        metavar="TYPE",
        help="refuse a destination on another type of file system than this (ext4, xfs, lustre, ...)",
    )
    add(
        "-enes",
        "--exit_not_enough_space",
        action="store_true",
        help="end when the destination has too little room, instead of a warning",
    )
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
        action="append",
        default=[],
        metavar="FILE",
        help="read patterns from FILE, one a line; # begins a comment",
    )
    add("-do", "--directory_only", action="store_true", help="only directories, with their metadata")
    add(
        "-nds",
        "--no_directory_sync",
        action="store_true",
        help="do not set the metadata of directories",
    )
    add(
        "-co",
        "--content_only",
        action="store_true",
        help="only content: no modes, owners, times or attributes",
    )
    links = what.either()
    links.add(
        "-lt",
        "--link_tracking",
        action="store_true",
        help="copy what relative symlinks point to, also to places outside the destination "
        "(default: only inside it, where nothing is there)",
    )
    links.add(
        "-nlt",
        "--no_link_tracking",
        action="store_true",
        help="never copy what symlinks point to",
    )
    batch = what.either()
    batch.add(
        "-b", "--batch", action="store_true", help="one plan over all sources: always so here, accepted for hpcp's sake"
    )
    batch.add(
        "-nb",
        "--no_batch",
        "--sequential",
        dest="no_batch",
        action="store_true",
        help="one source after the other",
    )
    add(
        "-n",
        "--dry_run",
        action="store_true",
        help="change nothing; list what would be done, as rsync -n -i",
    )


def add_removal(parser: Parser) -> None:
    removal = parser.group("what to remove")
    add = removal.add
    add(
        "-rm",
        "--remove",
        action="store_true",
        help="remove every SRC; with -d: move, that is remove what has a copy that is known good",
    )
    add(
        "-rf",
        "--remove_force",
        action="store_true",
        help="ask nothing before something is removed; with one SRC and no destination it means -rm too",
    )
    add(
        "-rme",
        "--remove_extra",
        action="store_true",
        help="mirror: when all is copied, remove what the destination has and the sources do not",
    )
    add(
        "--max_delete",
        type=at_least(0, int),
        metavar="N",
        help="remove nothing if it were more than N entries",
    )
    add(
        "--backup_dir",
        default="",
        metavar="DIR",
        help="move to DIR what would be removed or replaced at the destination; a relative DIR is below it",
    )
    add(
        "--delete_excluded",
        action="store_true",
        help="with -rme, remove from the destination what is excluded, too",
    )


def add_lists(parser: Parser) -> None:
    lists = parser.group("file lists, and comparing")
    add = lists.add
    add(
        "-fl",
        "-tfl",
        "--target_file_list",
        dest="file_list",
        metavar="FILE",
        help="write a list of what the sources hold to FILE (-: standard output), and copy nothing; "
        "with -cfl: compare with that list",
    )
    add(
        "-nhfl",
        "--no_hash_file_list",
        action="store_true",
        help="names only, without hashes and link targets",
    )
    add(
        "-sfl",
        "-lfl",
        "--source_file_list",
        dest="source_list",
        metavar="FILE",
        help="take what FILE names (-: standard input), relative to SRC or to the working directory, and nothing below "
        "it; names keep their place below DST",
    )
    add("--null", action="store_true", help="(or -0) lists are plain names, each ended by NUL")
    add(
        "-cfl",
        "--compare_file_list",
        action="store_true",
        help="compare the sources with DST, or with the list of -fl; nothing is written. Exit code 3: they differ",
    )
    add(
        "-dfl",
        "--diff_file_list",
        nargs="?",
        const="",
        metavar="FILE",
        help="compare, and write a table of the differences to FILE (default: a name made of what is compared)",
    )
    add(
        "-tdfl",
        "--tar_diff_file_list",
        action="store_true",
        help="as -dfl, but only the names of what is added or modified, for tar -T",
    )


def add_identical(parser: Parser) -> None:
    identical = parser.group("what counts as identical, and is not copied again")
    add = identical.add
    add(
        "-hs",
        "--hash_size",
        type=parse_size,
        default=DEFAULT_HASH_SIZE,
        metavar="SIZE",
        help="besides path, size and mtime, compare the last SIZE bytes (default 64K; 0: none)",
    )
    add("-fh", "--full_hash", action="store_true", help="compare whole files; wins over -hs")
    add(
        "--modify_window",
        type=at_least(0),
        default=0.0,
        metavar="SECONDS",
        help="mtimes this near are equal (default 0: exact, or as exact as the destination can store)",
    )


def add_work(parser: Parser) -> None:
    work = parser.group("how it works")
    add = work.add
    add(
        "-j",
        "-m",
        "-t",
        "--max_workers",
        type=int,
        metavar="N",
        help="cp jobs at once on each rank. 0: half its CPUs, -N: N per CPU, default: 4 per CPU; "
        "CPUs are shared out among the ranks on them",
    )
    add("-s", "--single_thread", action="store_true", help="one job at a time, on one rank")
    add(
        "-f",
        "-fpj",
        "--files_per_job",
        type=at_least(1, int),
        default=DEFAULT_CHUNK_FILES,
        metavar="N",
        help=f"so many files make a chunk, however small they are (default {DEFAULT_CHUNK_FILES})",
    )
    add(
        "--chunk_size",
        type=parse_size,
        default=DEFAULT_CHUNK_SIZE,
        metavar="SIZE",
        help=f"so many bytes make a chunk (default {DEFAULT_CHUNK_SIZE // MIB}M)",
    )
    add(
        "--chunk_seconds",
        type=at_least(0.01),
        default=DEFAULT_CHUNK_SECONDS,
        metavar="SECONDS",
        help="how long a chunk is to keep a job busy, once it is known how long things take (default 2)",
    )
    add(
        "--split_size",
        type=parse_size,
        default=DEFAULT_SPLIT_SIZE,
        metavar="SIZE",
        help="copy files of this size and more in ranges of this size, on several ranks at once "
        f"(default {DEFAULT_SPLIT_SIZE // MIB}M; 0: never)",
    )
    add(
        "--io_size",
        type=parse_size,
        default=0,
        metavar="SIZE",
        help="bytes read and written at once of such a range (default: the file system's block size, 4M at least)",
    )
    add(
        "--verify",
        action="store_true",
        help="read every copy again, on another rank and node if there is one, and compare it with the source",
    )
    add(
        "-L",
        "-rl",
        "--rate_limit",
        type=parse_size,
        default=0,
        metavar="SIZE",
        help="copy no more than about SIZE bytes a second, all ranks together",
    )
    add(
        "-F",
        "-frl",
        "--file_rate_limit",
        type=parse_size,
        default=0,
        metavar="N",
        help="copy no more than about N files a second, all ranks together",
    )
    add(
        "-ctl",
        "--command_timeout_limit",
        type=at_least(0),
        default=0.0,
        metavar="SECONDS",
        help="end a cp that takes longer, and name its files as failed (default 0: never)",
    )
    add(
        "--drop_cache",
        action="store_true",
        help="forget the pages of such files again, so that the copy does not push out what others use",
    )
    add(
        "-pfl",
        "--parallel_file_listing",
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


def add_shown(parser: Parser) -> None:
    shown = parser.group("what is shown")
    add = shown.add
    add("-v", "--verbose", action="store_true", help="list every entry that is changed, as rsync -i")
    add(
        "--progress_interval",
        type=at_least(0),
        default=DEFAULT_INTERVAL,
        metavar="SECONDS",
        help="between lines of progress where there is no terminal (default 10; 0: none)",
    )
    add("--json", metavar="FILE", help="write the report to FILE")
    add("-V", "--version", action="store_true", help="name the versions of this program and of what it uses")
    add("-h", "--help", action="help", help="show this text")
