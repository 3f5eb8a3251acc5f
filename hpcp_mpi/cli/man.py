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
_FILES = (
    ("DIFF_*_file_list.txt", "the table that -dfl writes without a name, in the working directory"),
    (
        ".hpcp-mpi.*",
        "staging directories in the destination. The next run removes those of a killed one.",
    ),
)
_ESCAPES = (("\\", r"\e"), ("-", r"\-"), ("'", r"\(aq"), ("^", r"\(ha"), ("~", r"\(ti"), ("`", r"\(ga"))
_SEE_ALSO = ("cp(1)", "rm(1)", "rsync(1)", "mpiexec(1)", "srun(1)")


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
    yield ".SH FILES"
    for name, what in _FILES:
        yield from _tagged(_bold(name), what)
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
