"""The report: tables for people, JSON for machines."""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.bench.results import Report, Result, Standing, losses_first
from tests.bench.targets import Verdict

OURS = "hpcp-mpi"
WIDTH = 140  # where there is no terminal to ask


def console(file: TextIO | None = None) -> Console:
    out = file or sys.stdout
    return Console(file=out, width=None if out.isatty() else WIDTH)


def show(report: Report, to: Console) -> None:
    size = "" if report.full_size else " (not full size: an indication only)"
    to.print(f"{escape(report.benchmark)}: {escape(report.what)}{size}", style="bold", highlight=False)
    to.print(_table(report))
    if report.disturbed:
        share = f"{100 * report.disturbance:.0f} %"
        to.print(f"Busy machine: others used {share} of its CPU time meanwhile. Do not trust these.", style="red")
    for result in report.results:
        if result.state == "failed" and result.detail:
            to.print(f"{escape(result.label)} said last:", style="red")
            to.print(escape(result.detail), highlight=False)
    to.print()


def _table(report: Report) -> Table:
    """Columns that would be empty are left out."""
    base = next((r.label for r in report.results if r.contestant == report.baseline), None)
    table = Table()
    table.add_column("contestant", no_wrap=True)
    table.add_column("runs", justify="right")
    for heading in (f"median {report.unit}", f"min - max {report.unit}"):
        table.add_column(heading, justify="right", no_wrap=True)
    if any(r.cpu for r in report.results):
        table.add_column("CPU s", justify="right", no_wrap=True)
    if base:
        table.add_column(f"ratio to {base}", justify="right", no_wrap=True)
    table.add_column("remark", overflow="fold")
    for result in report.results:
        cpu = [_cpu(result)] if any(r.cpu for r in report.results) else []
        ratio = [_ratio(result, report)] if base else []
        cells = (result.label, str(len(result.samples)), *_timings(result), *cpu, *ratio, result.remark)
        table.add_row(*map(escape, cells))
    return table


def _timings(result: Result) -> tuple[str, str]:
    if result.median is None:
        return result.state.upper(), ""
    return number(result.median), f"{number(min(result.samples))} - {number(max(result.samples))}"


def _cpu(result: Result) -> str:
    return number(statistics.median(result.cpu)) if result.state == "ok" and result.cpu else ""


def _ratio(result: Result, report: Report) -> str:
    ratio = report.ratio(result.contestant, report.baseline) if report.baseline else None
    return "" if ratio is None else number(ratio)


def number(value: float) -> str:
    """Three digits that mean something."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 100 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def show_targets(verdicts: Sequence[Verdict], to: Console) -> None:
    if not verdicts:
        return
    to.print("targets", style="bold")
    table = Table()
    for heading in ("benchmark", "contestant", "target", "measured", "verdict", "remark"):
        table.add_column(heading)
    colours = {True: "green", False: "red", None: "yellow"}
    for verdict in verdicts:
        target = verdict.target
        measured = "" if verdict.measured is None else number(verdict.measured)
        cells = (target.benchmark, target.contestant, verdict.limit, measured, verdict.word, verdict.remark)
        table.add_row(*map(escape, cells), style=colours[verdict.reached])
    to.print(table)


def show_losses(standings: Sequence[Standing], to: Console) -> None:
    """Each of ours against each of what others would take, losses first."""
    if not standings:
        return
    to.print("losses first", style="bold")
    table = Table()
    for heading in ("benchmark", "contestant", "s", "against", "its s", "ratio"):
        table.add_column(heading, no_wrap=True, justify="left" if heading in ("benchmark", "contestant") else "right")
    for one in standings:
        cells = (one.benchmark, one.label, number(one.seconds), one.of, number(one.of_seconds), number(one.ratio))
        table.add_row(*map(escape, cells), style="red" if one.ratio > 1 else "green")
    to.print(table)


def as_json(machine: str, reports: Sequence[Report], verdicts: Sequence[Verdict]) -> dict[str, object]:
    return {
        "machine": machine,
        "benchmarks": {
            report.benchmark: {
                "what": report.what,
                "unit": report.unit,
                "baseline": report.baseline,
                "full_size": report.full_size,
                "disturbance": report.disturbance,
                "contestants": {r.contestant: _json_of(r, report) for r in report.results},
            }
            for report in reports
        },
        "losses": [
            {"benchmark": one.benchmark, "contestant": one.contestant, "against": one.of, "ratio": one.ratio}
            for one in losses_first(reports, OURS)
        ],
        "targets": [
            {
                "benchmark": verdict.target.benchmark,
                "contestant": verdict.target.contestant,
                "target": verdict.limit,
                "measured": verdict.measured,
                "reached": verdict.reached,
                "remark": verdict.remark,
            }
            for verdict in verdicts
        ],
    }


def _json_of(result: Result, report: Report) -> dict[str, object]:
    return {
        "label": result.label,
        "state": result.state,
        "median": result.median,
        "ratio": report.ratio(result.contestant, report.baseline) if report.baseline else None,
        "samples": list(result.samples),
        "cpu_seconds": list(result.cpu),
        "remark": result.remark,
        "stderr": result.detail,
    }


def write_json(path: Path, content: dict[str, object]) -> None:
    """Whole or not at all."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    staged.write_text(json.dumps(content, indent=2) + "\n")
    staged.replace(path)
