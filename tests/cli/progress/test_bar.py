"""The bar, in real terminals: it is seen, and nothing of it is left."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.support.launch import World, command_line
from tests.support.marks import each_world
from tests.support.terminal import at_terminal
from tests.support.tmux import a_terminal

BAR = r"^copying  [━─]+  "
SLOW = ["-L", "3M", "--chunk-size", "1M", "--progress-interval", "0.1"]
UTF8 = {"LC_ALL": "C.UTF-8"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    for number in range(12):
        (tmp_path / "src" / f"{number}").write_bytes(bytes(1_000_000))
    return tmp_path


def remains(everything: str) -> list[str]:
    """The lines that a bar left; a log's have the time before the phase."""
    return [line for line in everything.splitlines() if re.search(r"[━─]|^copying|\d (left|busy)|^\d*%", line)]


@each_world(sizes=(4,), launchers=("mpich", "openmpi"))
def test_a_bar_is_drawn_behind_mpiexec_as_wide_as_the_terminal_is_and_nothing_of_it_is_left(
    world: World, tree: Path
) -> None:
    command = command_line([*SLOW, tree / "src", tree / "dst"], flavour=world.flavour, n=world.n)
    with a_terminal(tree) as terminal:
        terminal.run(*command, **UTF8)
        terminal.wait_for(BAR)
        for columns in (60, 20, 130):
            terminal.resize(columns)
            # Wider than half of it, and in one row.
            terminal.wait_for(rf"^copying +[^\n]{{{max(0, columns // 2 - 9)},{columns - 10}}}$")
        terminal.wait_for_prompt()
        everything = terminal.everything()
    assert remains(everything) == []
    assert "done: 12 files" in everything


def test_a_bar_makes_room_for_ctrl_z_and_ctrl_c_and_a_shell_behind_it(tree: Path) -> None:
    with a_terminal(tree, columns=80) as terminal:
        terminal.run(*command_line([*SLOW, tree / "src", tree / "dst"], flavour="plain"), **UTF8)
        terminal.wait_for(BAR)
        terminal.press("C-z")
        assert remains(terminal.wait_for("Stopped")) == []
        terminal.type("bg; sleep 0.7; echo in front")
        assert remains(terminal.wait_for("^in front")) == [], "it is not drawn over the shell's lines"
        terminal.type("fg")
        terminal.wait_for(BAR)
        terminal.press("C-c")
        terminal.wait_for_prompt()
        everything = terminal.everything()
    assert remains(everything) == []
    assert "exit code 130" in everything


# Draws as a run does, without one: three times, and then for some seconds more if it is told to, with lines between.
DRAWS = """
import os, sys, time
from hpcp_mpi.cli import streams
from hpcp_mpi.cli.log import Log
from hpcp_mpi.cli.progress.choose import watching
from hpcp_mpi.vocab.progress import Progress
kind, seconds, result = [*sys.argv[1:], *("auto", "0", "")[len(sys.argv) - 1 :]]
streams.install()
log, shown, slowest = Log(), [], 0.0
now = Progress("copying", 3.0, 5, 10, 1 << 30, 2 << 30, True, failed=1, remaining=9.0, ranks=3)
def counted(call):
    return lambda *words: (shown.append(1), call(*words))
log.screen.draw, log.progress = counted(log.screen.draw), counted(log.progress)
with watching(kind, 0.2, log, sys.argv[1:], os.environ) as watcher:
    end = 0.0
    while not end or time.monotonic() < end:
        began = time.monotonic()
        if watcher.due():
            if end and len(shown) % 3 == 0:
                log.say("a line")
            watcher.show(now)
        slowest = max(slowest, time.monotonic() - began) if end else 0.0
        end = end or (time.monotonic() + float(seconds) if len(shown) >= 3 else 0.0)
        time.sleep(0.01)
log.say("at the end")
if result:
    open(result, "w").write(str(slowest))
streams.settle(0)
"""


def drawn(tmp_path: Path, kind: str = "auto", **environment: str) -> str:
    """What was written to a terminal."""
    command, usual = command_line([kind], flavour="plain", python_args=("-c", DRAWS))
    settings = {**usual, **UTF8, **environment}
    start = [b"env", *(f"{name}={value}".encode() for name, value in environment.items()), *command]
    with at_terminal(start, settings, tmp_path) as terminal:
        done = terminal.finish()
    assert done.returncode == 0, done
    return done.screen


def test_colours_are_the_terminals_and_failures_are_red(tmp_path: Path) -> None:
    assert "\x1b[1;31m1 failed" in drawn(tmp_path)


def test_no_color_is_no_colour(tmp_path: Path) -> None:
    shown = drawn(tmp_path, NO_COLOR="1")
    assert "━" in shown and "1 failed" in shown
    assert set(re.findall(r"\x1b\[[\d;]*m", shown)) <= {"\x1b[1m", "\x1b[0m"}


@pytest.mark.parametrize("name, value", [("LC_ALL", "C"), ("LC_ALL", "de_DE.ISO-8859-1")])
def test_a_locale_without_the_characters_of_a_bar_has_others(name: str, value: str, tmp_path: Path) -> None:
    shown = drawn(tmp_path, **{name: value})
    assert shown.isascii() and re.search("copying  #+", re.sub(r"\x1b\[[\d;]*m", "", shown))


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_knows_no_sequences_has_lines(term: str, tmp_path: Path) -> None:
    shown = drawn(tmp_path, TERM=term)
    assert "\x1b" not in shown and re.search(r"^\d{4}-\S+ \S+ copying 50%: ", shown, re.MULTILINE)


def test_a_bar_that_is_wanted_on_a_dumb_terminal_is_overwritten_with_blanks(tmp_path: Path) -> None:
    shown = drawn(tmp_path, kind="bar", TERM="dumb", NO_COLOR="1")
    assert "\x1b[J" not in shown and "\r" + " " * 80 in shown


def test_lines_come_above_the_bar(tmp_path: Path) -> None:
    with a_terminal(tmp_path) as terminal:
        command = command_line(["auto", "1"], flavour="plain", python_args=("-c", DRAWS))
        terminal.run(*command, **UTF8)
        screen = terminal.wait_for(r"a line\n(.*\n)*copying  ━")
        assert screen.rstrip().splitlines()[-1].startswith("copying  ━")
        terminal.wait_for("at the end")
        assert remains(terminal.everything()) == []


def test_a_paused_terminal_stops_nothing_and_loses_no_line(tmp_path: Path) -> None:
    result = tmp_path / "slowest"
    command = command_line(["auto", "1.5", str(result)], flavour="plain", python_args=("-c", DRAWS))
    with at_terminal(*command, tmp_path) as terminal:
        for _ in range(3):
            terminal.expect("copying")
        terminal.type("\x13")  # Ctrl-S
        deadline = time.monotonic() + 30
        while not result.exists() or not result.read_text():
            assert time.monotonic() < deadline, "it waits for the terminal"
            time.sleep(0.05)
        assert float(result.read_text()) < 0.5, "seconds in one call"
        terminal.type("\x11")  # Ctrl-Q
        terminal.expect("at the end")
        assert terminal.finish().returncode == 0


FOUND = """
import sys, time
from hpcp_mpi.host import terminal
from mpi4py import MPI
if MPI.COMM_WORLD.rank == 0:
    found = terminal.of_launcher(2, sys.argv[1:])
    print("COLUMNS", found and found.columns(), flush=True)
MPI.COMM_WORLD.Barrier()
"""


@pytest.mark.parametrize(
    "world, options, wrapper",
    [
        (World("mpich", 2), ["-l"], []),
        (World("openmpi", 2), ["--output", "tag"], []),
        (World("mpich", 2), [], ["sh", "-c", '"$@" 2>&1 | cat', "sh"]),
    ],
    ids=["mpich with labels", "openmpi with tags", "a pipe between"],
)
def test_a_launcher_that_marks_lines_and_a_pipe_that_leads_elsewhere_have_no_terminal_behind(
    world: World, options: list[str], wrapper: list[str], tmp_path: Path
) -> None:
    if missing := world.missing():
        pytest.skip(missing)
    command, environment = command_line(
        ["word"], flavour=world.flavour, n=2, launcher_args=options, wrapper=[], python_args=("-c", FOUND)
    )
    if wrapper:
        at = command.index(b"-n") + 2
        command = [*command[:at], *(word.encode() for word in wrapper), *command[at:]]
    with at_terminal(command, environment, tmp_path) as terminal:
        assert "COLUMNS None" in terminal.finish().screen


def test_a_bar_that_made_room_for_a_question_is_drawn_again(tmp_path: Path) -> None:
    script = DRAWS.split("with watching")[0] + (
        "with watching('auto', 1, log, [], os.environ) as watcher:\n"
        "    for phase in ('copying', 'removing'):\n"
        "        while not log.screen._drawn:\n"
        "            time.sleep(0.02)\n"
        "            watcher.show(Progress(phase))\n"
        "        watcher.close()\n"
        "        print('ALONE', flush=True)\n"
    )
    command = command_line(["auto"], flavour="plain", python_args=("-c", script))
    with at_terminal(*command, tmp_path) as terminal:
        for phase in ("copying", "removing"):
            terminal.expect(phase)
            terminal.expect("ALONE")
        assert terminal.finish().returncode == 0
