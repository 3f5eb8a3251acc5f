"""Every question of every verb, on a terminal and without one: what is removed, and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.launch import WITH_MPIEXEC, World, command_line
from tests.support.marks import worlds
from tests.support.terminal import CTRL_C, CTRL_D, Terminal, at_terminal
from tests.support.trees import Dir, File, build

PLAIN = World("plain")


@dataclass(frozen=True)
class Asks:
    """A command that asks, in a directory that has src and dst."""

    words: tuple[str, ...]
    gone: tuple[str, ...]  # what a yes removes
    copies_first: bool  # the question comes when all is copied


ASKS = {
    "remove": Asks(("-rm", "src"), ("src",), False),
    "mirror": Asks(("-rme", "src", "dst"), ("dst/extra",), True),
    "mirror with a backup": Asks(("-rme", "--backup-dir", "../backup", "src", "dst"), ("dst/extra",), True),
    "move": Asks(("-rm", "src", "-d", "dst"), ("src",), True),
    "remove, counted": Asks(("-rm", "--max-delete", "100", "src"), ("src",), False),
}
PATHS = ("src", "src/a", "src/d/b", "dst/a", "dst/extra/x")


@pytest.fixture
def place(on_tmpfs: Path) -> Path:
    build(on_tmpfs / "src", {"a": File(b"new"), "d": Dir({"b": File(b"b")})})
    build(on_tmpfs / "dst", {"a": File(b"old"), "extra": Dir({"x": File(b"x")})})
    return on_tmpfs


@pytest.fixture(params=ASKS)
def asks(request: pytest.FixtureRequest) -> Asks:
    return ASKS[request.param]


@contextmanager
def request(asks: Asks, place: Path, *more: str) -> Iterator[Terminal]:
    with at_terminal(*command_line([*asks.words, *more], flavour="plain"), place) as terminal:
        yield terminal


def answered(asks: Asks, terminal: Terminal, keys: str, place: Path) -> None:
    """Wait for the question, when nothing is removed yet, and answer it."""
    terminal.expect(r"\? \[y/N\] ")
    assert there(place) == list(PATHS), "something was removed before the question"
    assert ((place / "dst/a").read_bytes() == b"new") == asks.copies_first
    terminal.type(keys)


def there(place: Path) -> list[str]:
    return [path for path in PATHS if (place / path).exists()]


def left(asks: Asks) -> list[str]:
    return [path for path in PATHS if not any(path == gone or path.startswith(f"{gone}/") for gone in asks.gone)]


def test_yes_removes_it(asks: Asks, place: Path) -> None:
    with request(asks, place) as terminal:
        answered(asks, terminal, "y\n", place)
        assert terminal.finish().returncode == 0, terminal.screen
    assert there(place) == left(asks)


@pytest.mark.parametrize("answer", ["n\n", "\n", CTRL_D], ids=["n", "empty", "EOF"])
def test_anything_else_removes_nothing_and_the_last_line_says_so(answer: str, asks: Asks, place: Path) -> None:
    with request(asks, place) as terminal:
        answered(asks, terminal, answer, place)
        terminal.expect("nothing was removed: not confirmed")
        assert terminal.finish().returncode == 0, terminal.screen
    assert there(place) == list(PATHS)


def test_ctrl_c_removes_nothing_and_is_an_interrupt(asks: Asks, place: Path) -> None:
    with request(asks, place) as terminal:
        terminal.expect(r"\[y/N\] ")
        terminal.type(CTRL_C)
        terminal.expect("interrupted")
        assert terminal.finish().returncode == 130, terminal.screen
    assert there(place) == list(PATHS)


def test_with_minus_rf_nothing_is_asked(asks: Asks, place: Path) -> None:
    with request(asks, place, "-rf") as terminal:
        done = terminal.finish()
    assert done.returncode == 0 and "[y/N]" not in done.screen
    assert there(place) == left(asks)


def test_a_dry_run_asks_nothing_and_removes_nothing(asks: Asks, place: Path) -> None:
    with request(asks, place, "-n") as terminal:
        done = terminal.finish()
    assert done.returncode == 0 and "[y/N]" not in done.screen
    assert there(place) == list(PATHS) and (place / "dst/a").read_bytes() == b"old"


def refused(world: World, asks: Asks, place: Path) -> None:
    done = world.run(asks.words, cwd=place)
    assert done.returncode == 2 and "Add -rf" in done.stderr, str(done)
    assert there(place) == list(PATHS) and (place / "dst/a").read_bytes() == b"old"


def test_without_a_terminal_it_is_refused_before_anything_happens(asks: Asks, place: Path) -> None:
    refused(PLAIN, asks, place)


@pytest.mark.parametrize("world", worlds((2,), launchers=WITH_MPIEXEC))
def test_so_it_is_under_mpiexec(world: World, place: Path) -> None:
    refused(world, ASKS["remove"], place)


def test_without_a_terminal_minus_rf_does_it(asks: Asks, place: Path) -> None:
    assert PLAIN.run([*asks.words, "-rf"], cwd=place).check()
    assert there(place) == left(asks)
