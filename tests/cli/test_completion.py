"""--print-completion: what it prints is what the shell itself takes, and completes with."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpcp_mpi.cli.completion.scripts import completion
from hpcp_mpi.cli.options_how import SHELLS
from hpcp_mpi.cli.parser import described
from tests.support.launch import command_line, run
from tests.support.marks import needs_commands
from tests.support.terminal import Terminal, at_terminal

PARSES = {
    "bash": ("bash", "-n"),
    "zsh": ("zsh", "-n"),
    "fish": ("fish", "--no-config", "--no-execute"),
    "tcsh": ("tcsh", "-f", "-n"),
}
needs_shells = needs_commands("bash", "zsh", "fish", "tcsh")


def written(shell: str, place: Path) -> Path:
    path = place / f"completion.{shell}"
    path.write_text(completion(shell) + "\n")
    return path


@needs_shells
@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_parses_its_script_and_it_has_every_option(shell: str, tmp_path: Path) -> None:
    script = written(shell, tmp_path)
    done = subprocess.run([*PARSES[shell], script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    words = set(re.findall(r"(?<![\w-])[-\w]+", script.read_text()))
    options = (option for section in described() for option in section.options if option.is_option)
    for name in (name for option in options for name in option.names):
        assert name in words or name.lstrip("-") in words, name


@needs_commands("shellcheck")
def test_shellcheck_finds_nothing_in_the_script_for_bash(tmp_path: Path) -> None:
    done = subprocess.run(["shellcheck", "-s", "bash", written("bash", tmp_path)], capture_output=True, text=True)
    assert done.stdout == ""


def test_the_scripts_are_what_the_option_prints() -> None:
    assert run(["--print-completion", "fish"], flavour="plain").check().stdout == completion("fish") + "\n"


# What is typed, and the last word when the Tab key was pressed.
LINES = [
    ("hpcp-mpi --full-h", "--full-hash"),
    ("hpcp-mpi --dry-r", "--dry-run"),
    ("hpcp-mpi -rwl", "-rwloff"),
    ("hpcp-mpi src --sparse al", "always"),
    ("hpcp-mpi --sparse=al", "--sparse=always"),
    ("hpcp-mpi --reflink=ne", "--reflink=never"),
    ("hpcp-mpi --progress=js", "--progress=json"),
    ("hpcp-mpi --progress js", "json"),
    ("hpcp-mpi --print-template copy-r", "copy-requeue"),
    ("hpcp-mpi --progress some-f", "some-file one"),
    ("hpcp-mpi --image-fs sq", "squashfs"),
    ("hpcp-mpi --print-completion f", "fish"),
    ("hpcp-mpi some-f", "some-file one"),
    ("hpcp-mpi src some-f", "some-file one"),
    ("hpcp-mpi src -x some-f", "some-file one"),
    ("hpcp-mpi src -d some", "some-directory/"),
    ("hpcp-mpi src --dest-path=some", "--dest-path=some-directory/"),
    ("hpcp-mpi src -rme --backup-dir some", "some-directory/"),
    ("mpiexec -n 4 hpcp-mpi --full-h", "--full-hash"),
    ("mpirun -n 4 hpcp-mpi src -d some", "some-directory/"),
    ("srun -n 64 --mpi=pmi2 /opt/hpcp/bin/hpcp-mpi --sparse=al", "--sparse=always"),
    ("srun -n 64 hpcp-mpi some-f", "some-file one"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with scripts, a file and a directory."""
    path = tmp_path_factory.mktemp("completion")
    (path / "some-file one").touch()
    (path / "some-directory").mkdir()
    for shell in SHELLS:
        written(shell, path)
    (path / "zsh").mkdir()
    (path / "completion.zsh").rename(path / "zsh/_hpcp-mpi")
    (path / "zsh/_srun").write_text("#compdef srun\ncompadd -- --of-srun\n")
    return path


LOADS = {
    "bash": "source ./completion.bash",
    "zsh": "fpath=($PWD/zsh $fpath); autoload -U compinit; compinit -u -D",
    "tcsh": "source ./completion.tcsh",
}
STARTS = {
    "bash": ("bash", "--norc", "--noprofile", "-i"),
    "zsh": ("zsh", "-f", "-i"),
    "tcsh": ("tcsh", "-f"),
}
PROMPTS = {
    "bash": "PS1='read''y> '",
    "zsh": "setopt no_auto_remove_slash; PS1='read''y> '",
    "tcsh": "set prompt='read''y> '",
}


@contextmanager
def interactive(shell: str, place: Path, before: str = ":") -> Iterator[Terminal]:
    """A shell without anybody's settings that has loaded its script, after commands of a test."""
    _, environment = command_line([], flavour="plain")
    settings = {"HOME": str(place), "ZDOTDIR": str(place), "HISTFILE": "/dev/null", "INPUTRC": "/dev/null"}
    words = [word.encode() for word in STARTS[shell]]
    with at_terminal(words, {**environment, **settings}, place) as terminal:
        terminal.type(f"{before}; {LOADS[shell]}; {PROMPTS[shell]}\n")
        terminal.expect("ready> ")
        yield terminal


def completed(terminal: Terminal, line: str) -> str:
    """The last word of the line when the Tab key was pressed: the shell is made to print the words, one a line."""
    terminal.type(f"{line}\t\x01printf '{{%s}}\\n' \x05 'en''d'\n")
    terminal.expect(r"\{end\}\r?\n")
    words = re.findall(r"\{([^{}\r\n]*)\}\r?\n", terminal.screen)
    terminal.expect("ready> ")
    return words[-2] if words[-1] == "end" else ""


@needs_shells
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_tab_key_completes_options_values_and_paths_also_behind_launchers(shell: str, place: Path) -> None:
    lines = [line for line in LINES if shell == "bash" or not line[0].startswith("srun")]  # here zsh has one for it
    with interactive(shell, place) as terminal:
        assert [(line, completed(terminal, line)) for line, _ in lines] == lines


@needs_shells
def test_fish_completes_options_values_and_paths_also_behind_launchers(place: Path) -> None:
    asks = 'source completion.fish; for line in $argv; echo "> $line"; complete -C $line; end'
    command = ["fish", "--no-config", "-c", asks, *(line for line, _ in LINES)]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    offered = [
        {line.partition("\t")[0].replace("\\ ", " ") for line in answer.splitlines()[1:]}
        for answer in done.stdout.split("> ")[1:]
    ]
    assert [(line, only) for (line, _), only in zip(LINES, offered, strict=True)] == [
        (line, {word}) for line, word in LINES
    ]


@needs_commands("bash")
@pytest.mark.parametrize("loaded", ["before", "by bash-completion"])
def test_in_bash_a_launcher_keeps_what_completes_its_own_words(loaded: str, place: Path) -> None:
    has = '_of_srun() { COMPREPLY=($(compgen -W --of-srun -- "$2")); }; '
    if loaded == "before":
        has += "complete -o nospace -F _of_srun srun"
    else:
        has += '_load() { complete -F _of_srun "$1"; return 124; }; complete -D -F _load'
    with interactive("bash", place, has) as terminal:
        assert completed(terminal, "srun --o") == "--of-srun"
        assert completed(terminal, "srun --of-srun hpcp-mpi --full-h") == "--full-hash"
        assert completed(terminal, "srun --of-srun --o") == "--of-srun"
        assert completed(terminal, "mpiexec -n 2 prin") != "", "without one of its own"


@needs_commands("zsh")
def test_in_zsh_a_launcher_keeps_its_own_completion(place: Path) -> None:
    with interactive("zsh", place) as terminal:
        assert completed(terminal, "srun --o") == "--of-srun"


@needs_commands("tcsh")
def test_in_tcsh_the_tab_key_completes_options_values_and_paths(place: Path) -> None:
    with interactive("tcsh", place) as terminal:
        for line, ends in (("--full-h", "ash"), (" --sparse=al", "ways"), (" -d so", "me-directory"), (" so", "me-")):
            terminal.type(f"{'hpcp-mpi ' if line == '--full-h' else ''}{line}\t")
            terminal.expect(ends)


@pytest.mark.parametrize("words", [["--print-completion", "csh"], ["--print-completion"]])
def test_another_shell_is_refused(words: list[str]) -> None:
    done = run(words, flavour="plain")
    assert done.returncode == 2 and "--print-completion" in done.stderr
