"""The text around the options: in both helps, in the man page, and without arguments. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from hpcp_mpi.vocab.errors import EXIT_CODES


@dataclass(frozen=True, slots=True)
class Described:
    """The description of an option, or of the positional arguments."""

    names: tuple[str, ...]  # the spellings that are shown
    value: str  # the name of its value; "" if it has none
    optional: bool  # the value may be left out
    text: str
    choices: tuple[str, ...] = ()  # the values that it can have, where they are words
    completed: str = ""  # what a shell completes the value with: "file", "directory"
    several: bool = False  # it takes any number of values
    repeated: bool = False  # it may be given more than once

    @property
    def default(self) -> str:
        """The default as the text says it; "" where it says none."""
        found = re.search(r"\(default:? ([^;()]+)", self.text)
        return found[1].strip() if found else ""

    @property
    def brief(self) -> str:
        """The first words of the text, for a line of a shell's completion."""
        return re.split(r"[;:(]|, for |\. ", self.text)[0].strip()

    @property
    def is_option(self) -> bool:
        return self.names[0].startswith("-")


@dataclass(frozen=True, slots=True)
class Section:
    """The options under one heading."""

    title: str
    options: tuple[Described, ...]


SUMMARY = "copy, mirror, move, compare and remove trees with all nodes of a job"
SYNOPSIS = (
    ("", "SRC... DST"),
    ("", "SRC... -d DST"),
    ("-rm", "PATH..."),
    ("-fl LIST", "SRC..."),
    ("-cfl", "SRC DST"),
    ("-di IMG", "SRC..."),
    ("-dd", "SRC -di DST"),
)
USAGE = "\n       ".join(" ".join(filter(None, ("hpcp-mpi", flag, "[options]", rest))) for flag, rest in SYNOPSIS)
DESCRIPTION = """\
Copy, mirror, move, list, compare and remove file trees with all nodes of an MPI
or Slurm job, each running local cp workers; or, without a launcher, with all
CPUs of this machine."""

LANDING = (
    ("SRC DST, SRC -d DST", "the contents of directory SRC in DST; file SRC as DST, or in DST if that is a directory"),
    ("SRC DST/, SRC -d DST/", "DST/SRC"),
    ("SRC/ DST, SRC/ -d DST", "the contents of SRC in DST"),
    ("SRC1 SRC2 DST", "DST/SRC1 and DST/SRC2"),
)
# (what it does, command). The first five are the short help.
EXAMPLES = (
    ("copy, or re-sync: only what differs", "hpcp-mpi SRC DST"),
    ("dry run: list the changes", "hpcp-mpi -n SRC DST"),
    ("with 4 ranks; in a Slurm job: srun -n 64", "mpiexec -n 4 hpcp-mpi SRC DST"),
    ("mirror: also remove what is not in SRC", "hpcp-mpi -rme SRC DST"),
    ("remove", "hpcp-mpi -rm PATH..."),
    ("move: remove sources with a good copy", "hpcp-mpi -rm SRC -d DST"),
    ("compare; exit code 3: differences", "hpcp-mpi -cfl SRC DST"),
    ("write a list with hashes", "hpcp-mpi -fl LIST SRC"),
    ("copy the files of a list", "hpcp-mpi -sfl LIST SRC -d DST"),
    ("copy into a disk image", "hpcp-mpi SRC -di IMG"),
    ("copy from a disk image", "hpcp-mpi -si IMG -d DST"),
    ("clone a disk", "hpcp-mpi -dd SRC -di DST"),
    ("exclude files", "hpcp-mpi -e '*.tmp' SRC DST"),
    ("compare by size and mtime only", "hpcp-mpi -hs 0 SRC DST"),
)
_IN_SHORT = 5
_ON_A_SCREEN = 7
SPELLINGS = "Long options may be written with _, too, as in hpcp: --dest_path is --dest-path."
# The options of the help of one screen, by their first spelling, in its words.
_MOST_USED = (
    ("-n", "dry run: only list the changes"),
    ("-v", "list every entry that is changed"),
    ("-e", "exclude what matches, at any depth; -x FILE"),
    ("-rme", "mirror: also remove what no SRC has"),
    ("-rf", "ask nothing, as is needed under mpiexec and srun"),
    ("-hs", "0: compare size and mtime only; -fh: whole files"),
    ("-j", "jobs at once on each rank (default: 4 per CPU)"),
    ("-L", "limit of bytes a second, all ranks together (10M)"),
    ("--verify", "read every copy again and compare it"),
    ("--json", "write the report to FILE"),
)


def short() -> str:
    """Return the short help, which is shown without arguments."""
    return "\n".join(
        [
            f"hpcp-mpi: {SUMMARY}.",
            "",
            *_examples(_IN_SHORT),
            "",
            "All options: hpcp-mpi --help. Versions: hpcp-mpi -V.",
        ]
    )


def screen(sections: Iterable[Section]) -> str:
    """Return the help of -h, which fits on a screen of 24 lines. sections: all options"""
    options = {option.names[0]: option for section in sections for option in section.options}
    used = [(", ".join((name, *_long(options[name]))), options[name].value, what) for name, what in _MOST_USED]
    return "\n".join(
        [
            f"hpcp-mpi: {SUMMARY}.",
            "",
            *_examples(_ON_A_SCREEN),
            "",
            *(f"  {f'{names} {value}'.strip():<25} {what}" for names, value, what in used),
            "",
            "All options: hpcp-mpi --help. Man page: hpcp-mpi --print-man | man -l -",
        ]
    )


def _long(option: Described) -> tuple[str, ...]:
    """Return the documented long spelling of an option that has a short one."""
    return tuple(name for name in option.names[1:] if name.startswith("--"))[:1]


def epilog() -> str:
    """Return the part of the help that follows the options."""
    lines = [SPELLINGS, "", "where things land:"]
    for command, result in LANDING:
        lines += _columns(command, result, 24)
    lines += ["", "examples:", *_examples(len(EXAMPLES)), "", "exit codes:"]
    for code, meaning in EXIT_CODES.items():
        lines += _columns(str(code), meaning, 6)
    return "\n".join(lines)


def _examples(count: int) -> list[str]:
    return [f"  {command:<29}  # {what}" for what, command in EXAMPLES[:count]]


def _columns(left: str, right: str, width: int) -> list[str]:
    """Return lines of at most 80 characters in two columns; the left one has width characters."""
    from textwrap import wrap

    lines = wrap(right, 78 - width)
    return [f"  {left:<{width - 2}}{line}" if at == 0 else " " * width + line for at, line in enumerate(lines)]
