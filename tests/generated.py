"""The files of the project that are made from the parser's options: `make generated` writes them.

They are in the repository, so that nothing has to be run to build a package, and a reader sees what a change does.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from hpcp_mpi import __version__
from hpcp_mpi.cli.completion.scripts import completion
from hpcp_mpi.cli.help import SPELLINGS, Described, Section
from hpcp_mpi.cli.man import man_page
from hpcp_mpi.cli.parser import described

REPOSITORY = Path(__file__).resolve().parents[1]
_DATE = re.compile(r'(?m)^(\.TH \S+ 1 )"[^"]*"')
_TOP = """\
# Options

What `hpcp-mpi --help` says, as a page, made from the program's own table by `make generated`. {}
What hpcp's options do differently is in [from hpcp](from-hpcp.md), what to use them for in the [guide](guide.md).
"""


def options_page(sections: list[Section]) -> str:
    """docs/options.md"""
    return "\n".join(
        [
            _TOP.format(re.sub(r"(?<!\S)(-*\w*_\w*|--\w[\w-]*)(?=[ ,.])", r"`\1`", SPELLINGS)),
            *(line for section in sections for line in _table(section)),
        ]
    )


def _table(section: Section) -> Iterator[str]:
    title = section.title[0].upper() + section.title[1:]
    yield from (f"## {title}", "", "| option | |", "|---|---|")
    yield from (f"| {_names(option)} | {_cell(option.text)} |" for option in section.options)
    yield ""


def _names(option: Described) -> str:
    value = f"[{option.value}]" if option.optional else option.value
    *first, last = option.names
    return ", ".join(f"`{_bar(name)}`" for name in [*first, f"{last} {value}".strip()])


def _cell(text: str) -> str:
    """Running text of a help in a cell: what Markdown or HTML would read is escaped, but not within `code`."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(_bar(part) if part.startswith("`") else _escaped(part) for part in parts)


def _escaped(text: str) -> str:
    return _bar(re.sub(r"([\\*_<>\[\]])", r"\\\1", text))


def _bar(text: str) -> str:
    return text.replace("|", r"\|")


def made() -> dict[str, Callable[[], str]]:
    """What makes each file, by its path in the repository."""
    return {
        "docs/options.md": lambda: options_page(described()),
        "share/man/man1/hpcp-mpi.1": lambda: man_page(described(), __version__, time.strftime("%Y-%m-%d")),
        "share/bash-completion/completions/hpcp-mpi": lambda: completion("bash") + "\n",
        "share/zsh/site-functions/_hpcp-mpi": lambda: completion("zsh") + "\n",
        "share/fish/vendor_completions.d/hpcp-mpi.fish": lambda: completion("fish") + "\n",
    }


def without_date(text: str) -> str:
    """The text of a man page without the day on which it was made; any other as it is."""
    return _DATE.sub(r"\1", text, count=1)


def main() -> None:
    for name, make in made().items():
        file, text = REPOSITORY / name, make()
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or without_date(file.read_text()) != without_date(text):
            file.write_text(text)
            print(f"wrote {name}")


if __name__ == "__main__":
    main()
