"""The options that documents name exist: those of each `hpcp-mpi ...`, and those that stand alone in the text."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcp_mpi.cli.parser import build_parser

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")), REPOSITORY / "slurm/README.md"]
# What somebody types elsewhere, what was measured, what it is built of: options of other tools stand alone there.
OF_OTHERS_TOO = {"from-rsync.md", "performance.md", "decisions.md"}
TABLE = re.compile(r"(?ms)^## If you know cp, rsync or hpcp$.*?(?=^## )")
# Options of tar, srun, sbatch, pipx, docker and others that stand alone in the other documents; and one that is
# said to be none.
FOREIGN = {
    *("--no-recursion", "--null", "--itemize-changes", "--include-deps", "--acl", "-U", "-u", "-i", "-ddir"),
    *(
        "--dependency",
        "--mail-type",
        "--no-kill",
        "--signal",
        "--requeue",
        "--mpi",
        "--kill-on-bad-exit",
        "--wait",
        "--with-ft",
    ),
    *("--bind", "--cleanenv", "--user", "--volume", "--cap-add", "--device"),
}
FENCE = re.compile(r"(?ms)^```.*?^```$")
CODE = re.compile(r"(?ms)^```.*?^```$|`[^`\n]+`")
REFUSED = re.compile(r"(?m)^\$ hpcp-mpi .*\n(?=hpcp-mpi: )")
COMMAND = re.compile(r"(?:^|[\s`(])hpcp-mpi((?: +(?:'[^'\n]*'|\"[^\"\n]*\"|[^\s`'\"#|;&<>)]+))*)")
OPTION = re.compile(r"`(--?[A-Za-z0][\w-]*)(?:[= ][^`\s]+)?`")


@functools.cache
def known() -> frozenset[str]:
    spellings = build_parser()._option_string_actions
    return frozenset(spellings) | {name.replace("_", "-") for name in spellings if name.startswith("--")} | {"-0"}


def exists(option: str) -> bool:
    """Return whether the program has an option, or all that are joined in one word."""
    return option in known() or (len(option) > 2 and all(f"-{letter}" in known() for letter in option[1:]))


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each call of the program in the code of a document, but for those shown with their refusal."""
    for code in CODE.findall(REFUSED.sub("", text)):
        for found in COMMAND.findall(code.replace("\\\n", " ")):
            yield shlex.split(found)


def options_of(words: list[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if re.match(r"--?[A-Za-z0]", word)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_options_of_each_command_exist(document: Path) -> None:
    named = [(words, option) for words in commands(document.read_text()) for option in options_of(words)]
    assert [(words, option) for words, option in named if not exists(option)] == []


@pytest.mark.parametrize(
    "document", [each for each in DOCUMENTS if each.name not in OF_OTHERS_TOO], ids=lambda path: path.name
)
def test_the_options_that_stand_alone_exist(document: Path) -> None:
    text = TABLE.sub("", FENCE.sub("", document.read_text()))
    assert [option for option in OPTION.findall(text) if not exists(option) and option not in FOREIGN] == []


def test_an_option_that_does_not_exist_is_found() -> None:
    refused = "$ hpcp-mpi --dryrun\nhpcp-mpi: unknown"
    text = (
        f"```\n{refused}\nmpiexec -n 4 hpcp-mpi --nonsense -rme A B   # --no\n```\n and `hpcp-mpi -e '*.x' --frob=1 A`"
    )
    wrong = [option for words in commands(text) for option in options_of(words) if not exists(option)]
    assert wrong == ["--nonsense", "--frob"]
