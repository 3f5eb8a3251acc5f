"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from tests.bench import estimate, machine, plot, shapes, tables, targets
from tests.bench.arena import Setting
from tests.bench.benchmarks import BENCHMARKS, Benchmark
from tests.bench.contestants import Contestant
from tests.bench.results import Report, losses_first
from tests.bench.sources import NoRoom
from tests.bench.tasks import NAMES, TASKS

DEFAULT_PLACE, DEFAULT_DISK = Path("/dev/shm"), Path("/var/tmp")


def main(arguments: Sequence[str] | None = None) -> int:
    """0: everything ran; 1: something failed to run. Speed does not matter, nor what is not installed."""
    options = _parser().parse_args(arguments)
    if options.list:
        _list()
        return 0
    wanted = {name: _taking_part(name, options.contestants) for name in options.only}
    to = tables.console()
    line = machine.describe({who for names in wanted.values() for who in names})
    to.print(line, highlight=False, markup=False)
    settings = {name: _setting(name, options) for name in wanted}
    to.print(_method(settings), highlight=False)
    to.print(_duration(wanted, settings), highlight=False)
    reports, short_of_room = _run_all(wanted, settings, to)
    tables.show_losses(losses_first(reports, tables.OURS), to)
    verdicts = targets.verdicts(reports)
    tables.show_targets(verdicts, to)
    if options.json is not None:
        tables.write_json(options.json, tables.as_json(line, reports, verdicts))
    if options.plot is not None and reports:
        _plot(options.plot, reports, line)
    failed = any(result.state == "failed" for report in reports for result in report.results)
    return int(failed or short_of_room)


def _setting(benchmark: str, options: argparse.Namespace) -> Setting:
    """With what the benchmark takes where nothing is said."""
    one = BENCHMARKS[benchmark]
    rounds, scale = options.rounds or one.rounds, options.scale or one.scale
    return Setting(options.place, options.disk, rounds, options.slow_rounds, scale)


def _run_all(wanted: dict[str, list[str]], settings: Mapping[str, Setting], to: Console) -> tuple[list[Report], bool]:
    """The reports, and whether some benchmark was left out for want of room."""
    reports: list[Report] = []
    short_of_room = False
    for name, names in wanted.items():
        if not names:
            to.print(f"{name}: none of its contestants was asked for")
            continue
        try:
            found = BENCHMARKS[name].run(names, settings[name])
        except NoRoom as error:
            print(f"bench: {error}", file=sys.stderr)
            short_of_room = True
            continue
        for report in found:
            tables.show(report, to)
        reports += found
    return reports, short_of_room


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tests.bench", description="Who copies a tree faster? All contestants, interleaved in one run; medians."
    )
    by_default = [name for name, one in BENCHMARKS.items() if not one.on_demand]
    parser.add_argument(
        "--only",
        type=_names(BENCHMARKS),
        default=by_default,
        metavar="NAME[,NAME]",
        help="benchmarks, see --list",
    )
    parser.add_argument(
        "--contestants",
        type=_names(NAMES),
        default=list(NAMES),
        metavar="NAME[,NAME]",
        help="what the others are compared with should be one of them",
    )
    parser.add_argument(
        "--rounds", type=_at_least(1), metavar="N", help=f"default 5, of {shapes.NAME} all at once {shapes.ROUNDS}"
    )
    parser.add_argument(
        "--slow-rounds",
        type=_at_least(0),
        default=1,
        metavar="N",
        help="who takes a minute or more in a race runs in its first N rounds only (default 1)",
    )
    parser.add_argument(
        "--scale",
        type=_fraction,
        help=f"fraction of the files, for a quick try; default 1, of {shapes.NAME} all at once {shapes.SCALE}",
    )
    parser.add_argument("--place", type=_directory, default=DEFAULT_PLACE, help=f"for trees; default {DEFAULT_PLACE}")
    parser.add_argument(
        "--disk", type=_directory, default=DEFAULT_DISK, help=f"for file systems on disk; default {DEFAULT_DISK}"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to FILE, too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw everything into FILE, a PNG")
    parser.add_argument("--list", action="store_true", help="name benchmarks, contestants and targets")
    return parser


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown) or '(nothing)'}; known: {', '.join(known)}")
        return list(dict.fromkeys(names))

    return parse


def _at_least(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"a whole number from {least} is needed, not {text!r}")
        return value

    return parse


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"a number above 0 and up to 1 is needed, not {text!r}")
    return value


def _directory(text: str) -> Path:
    path = Path(text)
    if not path.is_dir() or not os.access(path, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} is no directory that can be written to")
    return path.absolute()


def _contestants(benchmark: str) -> Mapping[str, Contestant]:
    return BENCHMARKS[benchmark].known


def _taking_part(benchmark: str, asked_for: Sequence[str]) -> list[str]:
    return [name for name in BENCHMARKS[benchmark].contestants if name in asked_for]


def _method(settings: Mapping[str, Setting]) -> str:
    setting = next(iter(settings.values()))
    rounds = " or ".join(map(str, sorted({one.rounds for one in settings.values()})))
    return (
        f"{rounds} rounds, interleaved, on {setting.place}; slow ones in the first {setting.slow_rounds} only; "
        "wall time with start-up, medians; each first copy verified"
    )


def _duration(wanted: dict[str, list[str]], settings: Mapping[str, Setting]) -> str:
    present = {
        benchmark: [name for name in names if _contestants(benchmark)[name].missing() is None]
        for benchmark, names in wanted.items()
    }
    running = {report for name in wanted for report in BENCHMARKS[name].reports}
    left_out = [name for name, one in BENCHMARKS.items() if _is_left_out(one, running)]
    more = f"; not without being named: {', '.join(left_out)}" if left_out else ""
    return f"This takes {estimate.words(estimate.seconds(present, settings))}{more}."


def _is_left_out(one: Benchmark, running: Collection[str]) -> bool:
    """And worth to be named: what only runs with others is so by their name."""
    return one.on_demand and not one.part_of and not set(running).issuperset(one.reports)


def _plot(path: Path, reports: Sequence[Report], line: str) -> None:
    try:
        plot.write(path, reports, line)
    except plot.NoMatplotlib as error:
        print(f"bench: {error}", file=sys.stderr)


def _list() -> None:
    print("benchmarks:")
    for name, benchmark in BENCHMARKS.items():
        print(f"  {name:13} {benchmark.what}")
        print(f"  {'':13}   {', '.join(benchmark.contestants)}")
    print("contestants:")
    for task in TASKS.values():
        for name, contestant in task.contestants.items():
            print(f"  {name:16} {contestant.title}")
    print("targets:")
    for target in targets.TARGETS:
        print(f"  {target.benchmark:13} {target.contestant} {target.limit(targets.UNITS.get(target.benchmark, 's'))}")
