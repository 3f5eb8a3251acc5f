"""The commands that a reader is told to run: to go on after an early stop, to do again what failed."""

import os
from collections.abc import Mapping, Sequence
from shlex import quote

from hpcp_mpi.vocab.ledger_status import resuming
from hpcp_mpi.vocab.origin import TOOL
from hpcp_mpi.vocab.paths import printable, relative_to
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Verb

# What a retry of single names leaves out: where they come from and go to, lists, and the ledger of the whole run.
_LEFT_OUT = frozenset(
    {"dest_path", "source_list", "null", "no_hash_file_list", "failed", "ledger", "resume", "no_batch", "batch"}
)


def words(command: Sequence[str]) -> str:
    """Return a command quoted for a shell, with unprintable characters in the form of bash and zsh."""
    return " ".join(map(_word, command))


def _word(word: str) -> str:
    text = printable(os.fsencode(word))
    if text == word:
        return quote(word)
    escaped = text.replace("'", "\\'")
    return f"$'{escaped}'"


def launcher(processes: int, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words that start so many ranks, as this run was started. processes: 1: by no launcher"""
    if processes <= 1:
        return ()
    if "SLURM_STEP_NUM_TASKS" in environment or "SLURM_STEP_ID" in environment:
        # Slurm tells the flavour of PMI to the tasks of a step only, and a site's default is another one as a rule.
        flavour = environment.get("SLURM_MPI_TYPE")
        return "srun", *([f"--mpi={flavour}"] if flavour else []), "-n", str(processes)
    return "mpiexec", "-n", str(processes)


def again(start: Sequence[str], arguments: Sequence[str], ledger: bytes | None) -> tuple[str, ...]:
    """Return the command that does what is left: the same one, which resumes its ledger if it has one."""
    command = (TOOL, *arguments)
    return (*start, *(command if ledger is None else resuming(command, ledger)))


def base_of(report: Report, request: Request) -> bytes | None:
    """Return the directory that a list of what failed is relative to; None where a list cannot say what to do again.

    It can for a plain copy to one place. A list takes a directory without what is in it, so all that failed has to be
    known as something else.
    """
    options = request.options
    plain = request.verb is Verb.COPY and request.images is None and len(request.destinations) == 1
    if report.counterparts is None or not plain or options.mirror or options.move or options.dry_run:
        return None
    base = report.counterparts[0]
    for failure in report.failures:
        what = failure.attempted
        if not what.entries or what.directories or not relative_to(failure.path, base):
            return None
    return base


def from_list(
    start: Sequence[str], arguments: Sequence[str], places: tuple[bytes, bytes], failed: bytes
) -> tuple[str, ...]:
    """Return the command that copies what a list of failures names, with the options of the command that failed.

    places: the directory that the names are relative to, and its counterpart. failed: the list
    """
    base, destination = map(os.fsdecode, places)
    named = ("-sfl", os.fsdecode(failed), _as_name(base), "-d", _as_name(destination))
    return *start, TOOL, *_options_of(arguments), *named


def _as_name(path: str) -> str:
    return path if path.startswith("/") else f"./{path}"


def _options_of(arguments: Sequence[str]) -> list[str]:
    """Return the options of a command line that is valid, without its paths."""
    from hpcp_mpi.cli.parser import options_of

    return [word for kept, words in options_of(list(arguments)) if kept not in _LEFT_OUT for word in words]
