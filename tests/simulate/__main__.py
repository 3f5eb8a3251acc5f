"""`python -m tests.simulate [--ranks 4,1024] [--only pareto] [--feed-rate ENTRIES] [--json FILE]`: a table and targets.

Rank 0's microseconds are real ones of this machine; everything else is simulated and the same everywhere.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from tests.simulate.engine import Result, Simulation
from tests.simulate.listing import Busy, table
from tests.simulate.scenarios import CHUNK_SECONDS, Scenario, scenarios

RANKS = [4, 64, 1024, 4096]
LONG = 4096  # ranks at which one scenario takes half a minute
ALWAYS = "pareto 1.3"  # the one that is run at so many, unless others are asked for
LISTED = "listing"  # a tree that has to be listed, of 10^8 files: a table of its own

COLUMNS = (
    f"{'scenario':25}{'ranks':>6}{'slots':>6}{'makespan':>10}{'ideal':>8}{'ratio':>7}{'spread':>8}{'slots':>7}"
    f"{'chunks':>8}{'msg/chunk':>10}{'steals':>7}{'us/chunk':>9}{'chunks/s':>9}"
)
NOTES = (
    "makespan, ideal: seconds. spread: from the first rank that was done to the last, in chunks of "
    f"{CHUNK_SECONDS:g} s; then the same of slots.\nus/chunk, chunks/s: real time in rank 0's planner alone."
)


def line(result: Result) -> str:
    """Return a result as a line of the table."""
    return (
        f"{result.scenario:25}{result.ranks:6}{result.slots:6}{result.makespan:10.2f}{result.ideal:8.2f}"
        f"{result.ratio:7.3f}{result.spread / CHUNK_SECONDS:8.2f}{result.slot_spread / CHUNK_SECONDS:7.2f}"
        f"{result.chunks:8}{result.messages / result.chunks:10.2f}{result.steals:7}"
        f"{1e6 * result.busy / result.chunks:9.1f}{result.rate:9.0f}"
    )


def targets(results: list[Result], listed: list[Busy] | None = None) -> list[tuple[str, bool, str]]:
    """Return what is to be reached, whether it is, and the worst figure. Only what was run is judged.

    listed: copies of a tree that has to be listed
    """
    found = []

    def judge(target: str, figures: list[float], limit: float, least: bool = False) -> None:
        if figures:
            worst = min(figures) if least else max(figures)
            found.append((target, worst >= limit if least else worst <= limit, f"{worst:.3f}"))

    many = [result for result in results if result.ranks == 1024]
    pareto = [result.ratio for result in many if result.scenario.startswith("pareto")]
    judge("makespan at most 1.05 of the ideal: 1024 ranks, Pareto sizes", pareto, 1.05)
    slow = [result.ratio for result in many if "slower" in result.scenario]
    judge("makespan at most 1.10 of the ideal: 1024 ranks, one 10 times slower", slow, 1.10)
    spreads = [result.spread / CHUNK_SECONDS for result in results]
    judge("first rank done to last one: at most 1 chunk, everywhere", spreads, 1.0)
    judge("at least 20,000 chunks/s: 1024 ranks, any sizes", [result.rate for result in many], 20_000, least=True)
    busy = [each.after_ten for each in listed or ()]
    judge("slots busy for 0.95 of the time from the tenth second on: a tree to list", busy, 0.95, least=True)
    return found


def chosen(ranks: list[int], only: str | None) -> list[Scenario]:
    """Return the scenarios to run."""
    found = [scenario for count in ranks for scenario in scenarios(count)]
    if only is not None:
        return [scenario for scenario in found if only in scenario.name]
    return [scenario for scenario in found if scenario.ranks < LONG or scenario.name == ALWAYS]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulate", description=__doc__)
    parser.add_argument("--ranks", type=lambda text: [int(part) for part in text.split(",")], default=RANKS)
    parser.add_argument("--only", metavar="PART", help="scenarios with this in their names")
    parser.add_argument("--feed-rate", type=float, metavar="ENTRIES", help="that the scan finds in a second")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    results = []
    wanted = chosen(options.ranks, options.only)
    if wanted:
        print(COLUMNS)
    for scenario in wanted:
        results.append(Simulation(scenario, options.feed_rate).run())
        print(line(results[-1]), flush=True)
    if results:
        print(NOTES)
    listed: list[Busy] = []
    if options.only is None or options.only in LISTED:
        listed = table([count for count in options.ranks if count < LONG], lambda text: print(text, flush=True))
    for target, reached, figure in targets(results, listed):
        print(f"{'reached    ' if reached else 'NOT REACHED'}  {target}: {figure}")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(result) for result in [*results, *listed]], indent=1) + "\n")


if __name__ == "__main__":
    main()
