"""--print-completion: what it prints is what the shell itself takes, and completes with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hpcp_mpi.cli.parser import build_parser
from tests.support.launch import command_line, run
from tests.support.marks import needs_commands
from tests.support.terminal import at_terminal

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


def test_the_tab_key_completes_an_option_in_an_interactive_bash(tmp_path: Path) -> None:
    printed("bash", tmp_path)
    _, environment = command_line([], flavour="plain")
    quiet = {**environment, "PS1": "ready> ", "HISTFILE": "/dev/null", "INPUTRC": "/dev/null"}
    with at_terminal([b"bash", b"--norc", b"--noprofile", b"-i"], quiet, tmp_path) as terminal:
        terminal.expect("ready> ")
        terminal.type("source ./completion.bash\n")
        terminal.expect("ready> ")
        terminal.type("hpcp-mpi --full_h\t")
        terminal.expect("--full_hash ")


@pytest.mark.parametrize("words", [["--print-completion", "csh"], ["--print-completion"]])
def test_another_shell_is_refused(words: list[str]) -> None:
    done = run(words, flavour="plain")
    assert done.returncode == 2 and "--print-completion" in done.stderr
