"""The options for how work is done and what is shown, in groups as `hpcp-mpi --help` shows them."""

from hpcp_mpi.cli.amounts import at_least, whole_number
from hpcp_mpi.cli.options_what import Parser
from hpcp_mpi.vocab.amounts import parse_rate, parse_size
from hpcp_mpi.vocab.options import (
    DEFAULT_CHUNK_FILES,
    DEFAULT_CHUNK_SECONDS,
    DEFAULT_CHUNK_SIZE,
    DEFAULT_HASH_SIZE,
    DEFAULT_SPLIT_SIZE,
    MIB,
)

DEFAULT_INTERVAL = 10.0  # seconds between log lines
DEFAULT_HEARTBEAT = 60.0  # seconds of silence after which a rank is lost
SHELLS = ("bash", "zsh", "fish", "tcsh")
TEMPLATES = ("copy", "copy-array", "copy-requeue", "image", "remove", "sync", "verify")  # slurm/*.sbatch


def add_identical(parser: Parser) -> None:
    identical = parser.group("comparison: what counts as identical and is not copied again")
    add = identical.add
    add(
        "-hs",
        "--hash-size",
        type=parse_size,
        default=DEFAULT_HASH_SIZE,
        metavar="SIZE",
        help="besides path, size and mtime, compare the last SIZE bytes (default 64K; 0: none)",
    )
    add("-fh", "--full-hash", "--checksum", action="store_true", help="compare whole files; wins over -hs")
    add(
        "--modify-window",
        type=at_least(0),
        default=0.0,
        metavar="SECONDS",
        help="mtime difference that counts as equal (default 0, or the precision of the destination)",
    )


def add_work(parser: Parser) -> None:
    work = parser.group("performance")
    add = work.add
    add(
        "-j",
        "-m",
        "-t",
        "--max-workers",
        type=whole_number,
        metavar="N",
        help="jobs at once on each rank. 0: half its CPUs, -N: N per CPU, default: 4 per CPU; "
        "CPUs are shared out among the ranks on them",
    )
    add("-s", "--single-thread", action="store_true", help="one job at a time, on one rank")
    add(
        "-pfl",
        "--parallel-file-listing",
        action="store_const",
        const=True,
        help="all ranks list and compare directories from the start, instead of rank 0 alone (default: if the "
        "destination holds something already, and from when on ranks run dry)",
    )
    add(
        "--verify",
        action="store_true",
        help="read every copy again, on another rank and node if there is one, and compare it with the source",
    )
    add(
        "-L",
        "-rl",
        "--rate-limit",
        type=parse_rate,
        default=0,
        metavar="RATE",
        help="copy about RATE bytes a second at most, all ranks together (10M: 10 MB, 10Mi: 10 MiB; default 0: no "
        "limit)",
    )
    add(
        "-F",
        "-frl",
        "--file-rate-limit",
        type=parse_rate,
        default=0,
        metavar="RATE",
        help="copy or remove about RATE files a second at most, all ranks together (10K: 10,000; default 0: no limit)",
    )
    add(
        "-ctl",
        "--command-timeout-limit",
        type=at_least(0),
        default=0.0,
        metavar="SECONDS",
        help="time limit for one cp; its files count as failed then (default 0: none)",
    )
    add(
        "-f",
        "-fpj",
        "--files-per-job",
        type=at_least(1, int),
        default=DEFAULT_CHUNK_FILES,
        metavar="N",
        help=f"files per chunk, however small they are (default {DEFAULT_CHUNK_FILES})",
    )
    add(
        "--chunk-size",
        type=parse_size,
        default=DEFAULT_CHUNK_SIZE,
        metavar="SIZE",
        help=f"bytes per chunk (default {DEFAULT_CHUNK_SIZE // MIB}M)",
    )
    add(
        "--chunk-seconds",
        type=at_least(0.01),
        default=DEFAULT_CHUNK_SECONDS,
        metavar="SECONDS",
        help=f"target duration of a chunk (default {DEFAULT_CHUNK_SECONDS:g})",
    )
    add(
        "--split-size",
        type=parse_size,
        default=DEFAULT_SPLIT_SIZE,
        metavar="SIZE",
        help="copy files of this size and more in ranges of this size, on several ranks at once "
        f"(default {DEFAULT_SPLIT_SIZE // MIB}M; 0: never)",
    )
    add(
        "--io-size",
        type=parse_size,
        default=0,
        metavar="SIZE",
        help="bytes per read and write of such a range (default 0: the file system's block size, 4M at least; "
        "1M to tmpfs)",
    )
    add(
        "--drop-cache",
        action="store_true",
        help="drop these files from the page cache after copying, to keep it for other programs",
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


def add_long_runs(parser: Parser) -> None:
    long_runs = parser.group("long runs")
    add = long_runs.add
    add(
        "--ledger",
        metavar="FILE",
        complete="file",
        help="record the progress of the run in FILE, for --resume and --status",
    )
    add(
        "--resume",
        action="store_true",
        help="resume the run of the ledger (in a Slurm job by default hpcp-mpi-JOB.ledger, where it was submitted)",
    )
    add(
        "--status",
        metavar="LEDGER",
        complete="file",
        help="show the progress of a run from its ledger, and do nothing else",
    )
    add(
        "--stop-before",
        type=at_least(0),
        metavar="MINUTES",
        help="stop this long before the time limit of the batch job (default: 2)",
    )
    add(
        "--heartbeat-timeout",
        type=at_least(1),
        default=DEFAULT_HEARTBEAT,
        metavar="SECONDS",
        help="treat a rank as lost after this long without a heartbeat, and give its work to others "
        f"(default {DEFAULT_HEARTBEAT:g})",
    )


def add_shown(parser: Parser) -> None:
    shown = parser.group("output")
    add = shown.add
    add("-v", "--verbose", action="store_true", help="list every entry that is changed, as rsync -i")
    add(
        "-q",
        "--quiet",
        action="store_true",
        help="show problems only: no progress, no news, no table at the end; the exit code is the same",
    )
    add(
        "--progress",
        nargs="?",
        choices=("auto", "bar", "lines", "json", "none"),
        const="auto",
        default="auto",
        help="how progress is shown on standard error: a bar, lines, JSON objects for programs, or not (default auto: "
        "a bar on a terminal, also under mpiexec; else lines)",
    )
    add(
        "--progress-interval",
        type=at_least(0),
        default=DEFAULT_INTERVAL,
        metavar="SECONDS",
        help=f"interval between progress lines, the first of which comes after 1 s (default {DEFAULT_INTERVAL:g}; 0: "
        "none)",
    )
    add(
        "--log-file",
        metavar="FILE",
        complete="file",
        help="append to FILE what is said on standard error, with progress as lines and each line with its time",
    )
    add(
        "--json",
        metavar="FILE",
        complete="file",
        help="write the report to FILE, for programs (-: standard output, all else then goes to standard error)",
    )
    add(
        "--failed",
        metavar="FILE",
        complete="file",
        help="write the names of all that failed to FILE, as -sfl reads them (default: beside the ledger, else "
        "hpcp-mpi-failed-*.list in the working directory or at home; no file in a dry run, or if nothing failed)",
    )
    add("-h", "--help", action="help", help="show the options that are used most (-h), or all (--help)")
    add("-V", "--version", action="store_true", help="show the versions of this program and of what it uses")
    add(
        "--print-completion",
        choices=SHELLS,
        metavar="SHELL",
        help=f"print the completion script for SHELL ({', '.join(SHELLS)})",
    )
    add("--print-man", action="store_true", help="print the man page")
    add(
        "--print-template",
        nargs="?",
        const="list",
        choices=("list", *TEMPLATES),
        metavar="NAME",
        help="print a job template for Slurm, for `sbatch`; without NAME list them",
    )
    add("--print-module", action="store_true", help="print a module file for Lmod and Environment Modules")
