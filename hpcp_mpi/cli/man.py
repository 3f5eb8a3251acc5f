"""The man page that --print-man prints, in the macros of man(7), made from the parser's options."""

from collections.abc import Iterable, Iterator
from textwrap import wrap

from hpcp_mpi.cli.help import EXAMPLES, LANDING, SPELLINGS, SUMMARY, SYNOPSIS, Described, Section
from hpcp_mpi.vocab.errors import EXIT_CODES

_DESCRIPTION = (
    "Rank 0 lists and compares trees, cuts the work into chunks and deals them out; the other ranks run local cp "
    "workers and steal from each other when they run dry. Without mpiexec or srun it uses the CPUs of this machine.",
    "An entry that has the same type, size, mtime and last 64 KiB at the destination is not copied again. New content "
    "is made beside its place and renamed over it, so there is never a partial file under its name. After an "
    "interruption run the same command again: it resumes.",
    "Where things land:",
)
_PROMPTS = (
    "-rm, -rme and a move ask for confirmation on the terminal before they remove something. Where there is none, as "
    "under mpiexec and srun, the run is refused before anything happens; add -rf then."
)
_SLURM_TEXT = (
    "Two ranks a node are enough, as each runs several jobs (-j). With --mpi=pmix for Open MPI. As there is no "
    "terminal, -rm and -rme need -rf. Two minutes before the end of the job the run stops with exit code 75, and the "
    "job goes back to the queue; the next run resumes from the ledger. The template copy-requeue.sbatch also gives up "
    "when it was started too often."
)
_SLURM_SCRIPT = """\
#!/bin/bash
#SBATCH --nodes=4 --ntasks-per-node=2 --cpus-per-task=4 --time=24:00:00
#SBATCH --requeue --open-mode=append --output=%x-%j.log
#SBATCH --signal=USR1@120
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
srun --mpi=pmi2 --no-kill --kill-on-bad-exit=0 --wait=0 \\
    hpcp-mpi /scratch/project /archive/project
code=$?
[ $code -ne 75 ] || scontrol requeue $SLURM_JOB_ID
exit $code"""
_ENVIRONMENT = (
    (
        "SLURM_JOB_ID, SLURM_ARRAY_JOB_ID, SLURM_ARRAY_TASK_ID, SLURM_STEP_ID",
        "the job, which the ledger is named after",
    ),
    ("SLURM_SUBMIT_DIR", "where the ledger of a job is"),
    ("SLURM_MPI_TYPE", "what the commands that are shown give srun as --mpi"),
    ("SLURM_RESTART_COUNT", "a job that was restarted resumes from its ledger without --resume"),
    ("SLURM_JOB_END_TIME", "when the job ends, where Slurm says so here; else scontrol is asked (--stop-before)"),
    (
        "PMI_SIZE, PMI_RANK, PMI_FD, PMI_PORT, PMIX_RANK, OMPI_COMM_WORLD_SIZE, OMPI_COMM_WORLD_RANK, "
        "MV2_COMM_WORLD_SIZE, MV2_COMM_WORLD_RANK, PALS_NRANKS, PALS_RANKID, FLUX_JOB_SIZE, SLURM_STEP_NUM_TASKS, "
        "SLURM_PROCID",
        "set by launchers: with one of them MPI is started, and the number of ranks has to be theirs",
    ),
    (
        "MPI_LOCALNRANKS, SLURM_STEP_NUM_NODES, MPIR_CVAR_CH4_NETMOD",
        "where all ranks are on one node, MPICH is told to use its netmod ofi unless the last one is set",
    ),
    ("TERM, COLUMNS, NO_COLOR", "of the terminal that progress is shown on; dumb: lines instead of a bar"),
    (
        "HOME, XDG_STATE_HOME",
        "the ledger of a job is in hpcp-mpi below the latter (~/.local/state) if others can write "
        "to the directory it was submitted from",
    ),
    ("TMPDIR", "records of a run that do not fit in memory, and copies of images that are replayed (default /tmp)"),
    ("LANG, LC_ALL, LC_CTYPE", "the encoding of what is printed"),
    ("PATH", "is not used to find programs: they are those of the system (/usr/local/bin, /usr/bin, /bin, and sbin)"),
)
_FILES = (
    ("hpcp-mpi-JOB.ledger", "the ledger of a Slurm job, in the directory that it was submitted from (--ledger)"),
    ("DIFF_*_file_list.txt", "the table that -dfl writes without a name, in the working directory"),
    (
        ".hpcp-mpi.*",
        "staging directories in the destination. The next run removes those of a killed one.",
    ),
)
_LIMITS = (
    "Linux, Python 3.10 or newer, and GNU cp are needed. SRC and DST are paths that each node has mounted: no remote "
    "hosts, no object stores.",
    "A file that is replaced needs room for both versions until the new one is complete. One that is written to while "
    "it is copied in ranges fails and is named.",
    "Sockets are noted and not copied. Attributes, ACLs and times that the destination cannot store are noted; with "
    "--strict-metadata they are failures.",
    "Patterns of -e are matched against absolute paths, and * matches / as well: both is different in rsync. There are "
    "no include rules.",
    "At most 1,024 jobs run at once on a rank, and a sixteenth of the files that it may open (ulimit -n).",
)
_ESCAPES = (("\\", r"\e"), ("-", r"\-"), ("'", r"\(aq"), ("^", r"\(ha"), ("~", r"\(ti"), ("`", r"\(ga"))
_SEE_ALSO = ("cp(1)", "rm(1)", "rsync(1)", "mpiexec(1)", "sbatch(1)", "srun(1)", "tar(1)")


def man_page(sections: Iterable[Section], version: str, date: str) -> str:
    """Return the man page. sections: the options by heading. date: as 2026-01-31."""
    return "\n".join(_lines(sections, version, date)) + "\n"


def _lines(sections: Iterable[Section], version: str, date: str) -> Iterator[str]:
    yield f'.TH HPCP\\-MPI 1 "{date}" "hpcp\\-mpi {version}" "User Commands"'
    yield from (".SH NAME", _filled(f"hpcp-mpi - {SUMMARY}"))
    yield ".SH SYNOPSIS"
    for at, (flag, rest) in enumerate(SYNOPSIS):
        yield from (".br",) if at else ()
        yield " ".join(filter(None, (r"\fBhpcp\-mpi\fR", _bold(flag), r"[\fIoptions\fR]", _text(rest))))
    yield ".SH DESCRIPTION"
    for at, paragraph in enumerate(_DESCRIPTION):
        yield from (".PP",) if at else ()
        yield _filled(paragraph)
    for command, result in LANDING:
        yield from _tagged(_bold(command), result)
    yield from (".PP", _filled(_PROMPTS))
    yield from (".SH OPTIONS", _filled(SPELLINGS))
    for section in sections:
        yield f".SS {_text(section.title)}"
        for option in section.options:
            yield from _tagged(_head(option), option.text)
    yield ".SH EXIT STATUS"
    for code, meaning in EXIT_CODES.items():
        yield from _tagged(_bold(str(code)), meaning)
    yield ".SH EXAMPLES"
    for what, command in EXAMPLES:
        yield from _tagged(_bold(command), what)
    yield from (".SS In a Slurm job", _filled(_SLURM_TEXT), ".PP", ".nf", _text(_SLURM_SCRIPT), ".fi")
    yield ".SH ENVIRONMENT"
    for name, what in _ENVIRONMENT:
        yield from _tagged(_bold(name), what)
    yield ".SH FILES"
    for name, what in _FILES:
        yield from _tagged(_bold(name), what)
    yield ".SH LIMITS"
    for at, paragraph in enumerate(_LIMITS):
        yield from (".PP",) if at else ()
        yield _filled(paragraph)
    yield from (".SH SEE ALSO", ", ".join(rf"\fB{_text(name[:-3])}\fR{name[-3:]}" for name in _SEE_ALSO))


def _tagged(tag: str, text: str) -> Iterator[str]:
    yield from (".TP", tag, _filled(text))


def _head(option: Described) -> str:
    names = ", ".join(map(_bold if option.is_option else _italic, option.names))
    value = _italic(option.value) if option.value else ""
    return f"{names} [{value}]" if option.optional else f"{names} {value}".rstrip()


def _bold(text: str) -> str:
    return rf"\fB{_text(text)}\fR" if text else ""


def _italic(text: str) -> str:
    return rf"\fI{_text(text)}\fR"


def _text(text: str) -> str:
    """Return text escaped for roff, with `-` as a minus that can be pasted into a shell."""
    for character, escape in _ESCAPES:
        text = text.replace(character, escape)
    return text


def _filled(text: str) -> str:
    """Return running text, escaped for roff, in lines of at most 80 characters, none of which is a request."""
    return "\n".join(
        rf"\&{line}" if line.startswith((".", "'")) else line
        for line in wrap(_text(text), 76, break_long_words=False, break_on_hyphens=False)
    )
