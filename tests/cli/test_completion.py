"""--print-completion: what it prints is what the shell itself takes, and completes with."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpcp_mpi.cli.parser import build_parser
from tests.support.launch import command_line, run
from tests.support.marks import needs_commands
from tests.support.terminal import Terminal, at_terminal

PARSES = {"bash": ("bash", "-n"), "zsh": ("zsh", "-n"), "tcsh": ("tcsh", "-f", "-n")}


@pytest.fixture(scope="module", params=PARSES)
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def printed(shell: str, place: Path) -> Path:
    path = place / f"completion.{shell}"
    path.write_text(run(["--print-completion", shell], flavour="plain").check().stdout)
    return path


@needs_commands("bash", "zsh", "tcsh")
def test_each_shell_parses_its_script_and_it_has_every_option(shell: str, tmp_path: Path) -> None:
    script = printed(shell, tmp_path)
    done = subprocess.run([*PARSES[shell], script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    text = script.read_text()
    for action in build_parser()._actions:
        for name in action.option_strings:
            assert name in text or (shell == "tcsh" and name.lstrip("-") in text), name


def completions(place: Path, line: str) -> list[str]:
    """What bash offers for the last word of a line, with nothing but the script loaded."""
    asks = (
        'source "$1"; COMP_LINE=$2; COMP_WORDS=($2); [[ $2 == *" " ]] && COMP_WORDS+=(""); COMP_POINT=${#2};'
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1));"
        'complete -p hpcp-mpi >&2; _shtab_hpcp_mpi; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    words = ["bash", "--norc", "-c", asks, "bash", printed("bash", place), line]
    done = subprocess.run(words, capture_output=True, text=True, cwd=place)
    assert "complete" in done.stderr, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    "line, offered",
    [
        ("hpcp-mpi --full_h", ["--full_hash"]),
        ("hpcp-mpi --dry-r", ["--dry-run"]),
        ("hpcp-mpi --sparse al", ["always"]),
        ("hpcp-mpi --print-completion t", ["tcsh"]),
        ("hpcp-mpi some", ["some-directory", "some-file"]),
        ("hpcp-mpi src -x some-f", ["some-file"]),
        ("hpcp-mpi src -d some", ["some-directory"]),
    ],
)
def test_bash_offers(line: str, offered: list[str], tmp_path: Path) -> None:
    (tmp_path / "some-file").touch()
    (tmp_path / "some-directory").mkdir()
    assert sorted(completions(tmp_path, line)) == offered


# How an interactive shell without anybody's settings is started, and how it loads its script.
INTERACTIVE = {
    "bash": (("bash", "--norc", "--noprofile", "-i"), "PS1='read''y> '; source ./completion.bash"),
    "zsh": (
        ("zsh", "-f", "-i"),
        "PS1='read''y> '; mv completion.zsh _hpcp-mpi; fpath=($PWD $fpath); autoload -U compinit; compinit -u -D",
    ),
    "tcsh": (("tcsh", "-f"), "set prompt='read''y> '; source ./completion.tcsh"),
}


@contextmanager
def interactive(shell: str, place: Path) -> Iterator[Terminal]:
    printed(shell, place)
    words, loads = INTERACTIVE[shell]
    _, environment = command_line([], flavour="plain")
    settings = {"HOME": str(place), "ZDOTDIR": str(place), "HISTFILE": "/dev/null", "INPUTRC": "/dev/null"}
    with at_terminal([word.encode() for word in words], {**environment, **settings}, place) as terminal:
        terminal.type(f"{loads}\n")
        terminal.expect("ready> ")
        yield terminal


@needs_commands("bash", "zsh", "tcsh")
def test_the_tab_key_completes_options_and_every_path(shell: str, tmp_path: Path) -> None:
    (tmp_path / "some-directory").mkdir()
    with interactive(shell, tmp_path) as terminal:
        terminal.type("hpcp-mpi --full_h\t")
        terminal.expect("ash")
        for word in (" so", " so", " -d so", " so"):
            terminal.type(f"{word}\t")
            terminal.expect("-directory")


@pytest.mark.parametrize("words", [["--print-completion", "csh"], ["--print-completion"]])
def test_another_shell_is_refused(words: list[str]) -> None:
    done = run(words, flavour="plain")
    assert done.returncode == 2 and "--print-completion" in done.stderr
