"""How long will it take? Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.bench.arena import Setting
from tests.bench.benchmarks import BENCHMARKS


def seconds(wanted: Mapping[str, Sequence[str]], settings: Mapping[str, Setting]) -> float:
    """wanted: names of contestants by benchmark. Measured on 2 cores; others may take half or twice as long."""
    return sum(BENCHMARKS[name].seconds(contestants, settings[name]) for name, contestants in wanted.items())


def words(amount: float) -> str:
    if amount < 90:
        return "about a minute or less"
    minutes = amount / 60
    return f"about {minutes:.0f} minutes" if minutes < 90 else f"about {minutes / 60:.1f} hours"
