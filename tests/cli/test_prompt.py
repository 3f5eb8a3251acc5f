"""Questions: who is asked, what counts as yes, and that a question never hangs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.launch import World, command_line
from tests.support.marks import worlds
from tests.support.terminal import CTRL_C, CTRL_D, Terminal, at_terminal

# Asks once, as a verb does, and says what came of it.
ASKS = """
import sys
from hpcp_mpi.cli.prompt import Asker
from hpcp_mpi.cluster.signals import StoppedEarly
from hpcp_mpi.cluster.signals import StopRequest, watched
from hpcp_mpi.vocab.errors import UsageError
with watched(StopRequest()) as stop:
    try:
        asker = Asker(sys.argv[1] == "force", stop, lambda: print("CLEARED"))
        asker.expect()
        print("EXPECTED", flush=True)
        print("ANSWER", asker.confirm("Remove 3 entries?"))
    except UsageError as error:
        print("REFUSED", error)
    except StoppedEarly as early:
        print("STOPPED", early.code, early.name)
"""


@contextmanager
def asking(tmp_path: Path, how: str = "ask", **setting: Any) -> Iterator[Terminal]:
    command, environment = command_line([how], flavour="plain", python_args=("-c", ASKS))
    with at_terminal(command, environment, tmp_path, **setting) as terminal:
        yield terminal


@pytest.mark.parametrize(
    "keys, answer",
    [
        ("y\n", True),
        ("yes\n", True),
        (" YES \n", True),
        ("n\n", False),
        ("\n", False),
        ("yep\n", False),
        ("yn\n", False),
        (CTRL_D, False),
    ],
)
def test_only_yes_is_yes(keys: str, answer: bool, tmp_path: Path) -> None:
    with asking(tmp_path) as terminal:
        terminal.expect(r"Remove 3 entries\? \[y/N\] ")
        terminal.type(keys)
        terminal.expect(f"ANSWER {answer}")
        assert terminal.finish().returncode == 0


def test_ctrl_c_at_a_question_ends_the_run_with_the_code_of_an_interrupt(tmp_path: Path) -> None:
    with asking(tmp_path) as terminal:
        terminal.expect(r"\[y/N\] ")
        terminal.type(CTRL_C)
        terminal.expect("STOPPED 130 SIGINT")


def test_what_is_drawn_on_the_terminal_is_taken_away_before_the_question(tmp_path: Path) -> None:
    with asking(tmp_path) as terminal:
        terminal.expect(r"CLEARED\r\nRemove 3")


def test_what_was_typed_before_the_question_does_not_answer_it(tmp_path: Path) -> None:
    with asking(tmp_path) as terminal:
        terminal.type("y\n")  # long before Python has even started
        terminal.expect(r"\[y/N\] ")
        terminal.type("n\n")
        terminal.expect("ANSWER False")


def test_with_force_nothing_is_asked(tmp_path: Path) -> None:
    with asking(tmp_path, "force") as terminal:
        assert "[y/N]" not in terminal.finish().screen
        assert "ANSWER True" in terminal.screen and "CLEARED" not in terminal.screen


def test_without_a_terminal_to_read_from_it_is_refused_early_and_the_flag_is_named(tmp_path: Path) -> None:
    with asking(tmp_path, stdin=subprocess.DEVNULL) as terminal:
        terminal.expect(r"REFUSED .*no terminal to ask on\s+Add -rf")
        assert "EXPECTED" not in terminal.finish().screen


def test_a_question_that_nobody_can_see_is_not_asked(tmp_path: Path) -> None:
    with open(tmp_path / "log", "wb") as log, asking(tmp_path, stderr=log) as terminal:
        terminal.expect("REFUSED")
    assert (tmp_path / "log").read_bytes() == b""


def test_a_pipe_full_of_yes_is_no_person(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, b"y\n" * 100)
    os.close(write)
    with os.fdopen(read), asking(tmp_path, stdin=read) as terminal:
        terminal.expect("REFUSED")


@pytest.mark.parametrize("world", worlds((2,), launchers=("mpich", "openmpi")))
def test_under_mpiexec_rank_0_has_no_terminal_even_if_mpiexec_has_one(world: World, tmp_path: Path) -> None:
    command, environment = command_line(
        ["ask"], flavour=world.flavour, n=world.n, python_args=("-c", "import mpi4py.MPI\n" + ASKS)
    )
    with at_terminal(command, environment, tmp_path) as terminal:
        terminal.expect("REFUSED .*\\s+Add -rf")
        assert "EXPECTED" not in terminal.finish().screen
