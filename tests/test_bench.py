"""What the benchmarks compare with what, and how they show it: nobody wins by being missing or quiet about it."""

from __future__ import annotations

import importlib.util
import io
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench import (
    arena,
    contestants,
    estimate,
    plot,
    races,
    tables,
)
from tests.bench.benchmarks import BENCHMARKS
from tests.bench.contestants import CONTESTANTS, Job
from tests.bench.results import Report, Result, rotated
from tests.bench.targets import TARGETS, UNITS, Target, verdicts
from tests.bench.tasks import TASKS
from tests.bench.trees import Big, Flat
from tests.support import launch

JOB = Job(Path("/s/src"), Path("/d/dst"), Path("/w"))


def report(*results: Result, full_size: bool = True) -> Report:
    return Report("copy-small", "a copy", "s", "cp", full_size, results)


def shown(found: Report) -> str:
    out = io.StringIO()
    tables.show(found, tables.console(out))
    return out.getvalue()


def argv_in(race_name: str, contestant: str) -> list[str]:
    options = races.RACES[race_name].options
    return [os.fsdecode(word) for word in CONTESTANTS[contestant].given(options).command(JOB).argv]


CP = Result("cp", "cp -a", samples=(2.0, 4.0, 3.0), cpu=(1.0, 1.0, 1.0))


def test_every_round_begins_with_another_contestant_and_has_all_of_them() -> None:
    rounds = [rotated("abc", number) for number in range(6)]
    assert [one[0] for one in rounds] == list("abcabc")
    assert all(sorted(one) == list("abc") for one in rounds)
    assert rotated([], 3) == []


def test_medians_are_compared_and_not_means_or_bests() -> None:
    ours = Result("mpich-4", "ours", samples=(1.0, 1.5, 90.0))
    found = report(CP, ours)
    assert (CP.median, ours.median) == (3.0, 1.5)
    assert found.ratio("mpich-4", "cp") == 0.5
    assert found.ratio("mpich-4", "nobody") is None


def test_who_has_failed_has_no_median_however_fast_it_was() -> None:
    broken = Result("mpich-4", "ours", "failed", samples=(0.1,))
    found = report(CP, broken)
    assert broken.median is None and found.ratio("mpich-4", "cp") is None and found.ratio("cp", "mpich-4") is None


def test_the_table_names_who_is_missing_and_how_to_get_it() -> None:
    text = shown(report(CP, Result("hpcp", "hpcp (PyPI)", "missing", remark="apt-get install [it]")))
    assert "hpcp (PyPI)" in text and "MISSING" in text and "apt-get install [it]" in text


def test_the_table_shows_runs_median_range_and_ratio() -> None:
    line = next(line for line in shown(report(CP)).splitlines() if "cp -a" in line and "3.00" in line)
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    assert cells[:6] == ["cp -a", "3", "3.00", "2.00 - 4.00", "1.00", "1.00"]


@pytest.mark.parametrize("seconds, word", [(3.0, "reached"), (3.1, "not reached")])
def test_a_target_is_a_limit_that_may_be_met_exactly(seconds: float, word: str) -> None:
    ours = Result("mpich-4", "ours", samples=(seconds,))
    (verdict,) = verdicts([report(CP, ours)], [Target("copy-small", "mpich-4", 1.0, of="cp")])
    assert verdict.word == word and verdict.limit == "<= 1 x cp" and verdict.remark == ""


def test_a_target_can_be_a_figure_of_its_own() -> None:
    found = Report("idle", "", "%", None, True, (Result("mpich-4", "ours", samples=(2.0, 2.9)),))
    (verdict,) = verdicts([found], [Target("idle", "mpich-4", 3.0)])
    assert verdict.reached and verdict.limit == "<= 3 %"


def test_a_target_without_figures_is_not_reached_by_default_and_says_why() -> None:
    ours = Result("mpich-4", "ours", "missing")
    (verdict,) = verdicts([report(CP, ours)], [Target("copy-small", "mpich-4", 1 / 30, of="hpcp")])
    assert (verdict.word, verdict.limit) == ("not measured", "<= 1/30 x hpcp")
    assert verdict.remark == "mpich-4 is missing; hpcp was not asked for"


def test_a_verdict_on_a_part_of_the_tree_is_called_an_indication() -> None:
    ours = Result("mpich-4", "ours", samples=(1.0,))
    found = verdicts([report(CP, ours, full_size=False)], [Target("copy-small", "mpich-4", 1.0, of="cp")])
    assert "indication" in found[0].remark


def test_figures_from_a_busy_machine_are_called_doubtful() -> None:
    ours = Result("mpich-4", "ours", samples=(1.0,))
    busy = replace(report(CP, ours), disturbance=0.4)
    (verdict,) = verdicts([busy], [Target("copy-small", "mpich-4", 1.0, of="cp")])
    assert "busy" in verdict.remark
    assert "others used 40 %" in shown(busy) and "others used" not in shown(report(CP, ours))


@pytest.mark.parametrize("measured, reached", [(100_000.0, True), (99_999.0, False)])
def test_of_some_things_more_is_better(measured: float, reached: bool) -> None:
    found = Report("rank0-scan", "", "entries/s", None, True, (Result("mpich-4", "ours", samples=(measured,)),))
    (verdict,) = verdicts([found], [Target("rank0-scan", "mpich-4", 100_000, at_least=True)])
    assert verdict.reached is reached and verdict.limit == ">= 100,000 entries/s"


def test_limits_read_as_they_were_agreed() -> None:
    limits = {(target.benchmark, target.of, target.limit("s")) for target in TARGETS}
    assert ("copy-small", "cp", "<= 0.7 x cp") in limits
    assert ("copy-small", "mpich-4", "<= 1.05 x mpich-4") in limits
    assert ("list-memory", "hpcp", "<= 1/3 x hpcp") in limits
    assert ("slow-copy", "cp", "<= 1/20 x cp") in limits


def test_all_names_in_races_and_targets_exist() -> None:
    by_report = {report: benchmark for benchmark in BENCHMARKS.values() for report in benchmark.reports}
    for benchmark in BENCHMARKS.values():
        known = benchmark.known.keys()
        assert set(benchmark.contestants) <= known and benchmark.slow <= known
    for one in races.RACES.values():
        assert one.baseline in one.contestants
        assert one.options.keys() <= {contestant.program for contestant in TASKS[one.task].contestants.values()}
    for target in TARGETS:
        able = by_report[target.benchmark].contestants
        assert {target.contestant, *([target.of] if target.of else [])} <= set(able)
    assert UNITS.keys() <= by_report.keys()


@pytest.mark.parametrize(
    "race_name, contestant, command",
    [
        ("copy-small", "cp", "cp -a -T /s/src /d/dst"),
        ("resync-tail", "cp-u", "cp -a -u -T /s/src /d/dst"),
        ("resync-fast", "rsync", "rsync -a /s/src/ /d/dst/"),
        ("copy-small", "fpsync-2", "fpsync -n 2 -t /w/fpsync /s/src/ /d/dst/"),
        ("slow-copy", "fpsync-16", "fpsync -n 16 -t /w/fpsync -f 100 /s/src/ /d/dst/"),
        ("copy-small", "rclone", "rclone sync --links --metadata --create-empty-src-dirs /s/src /d/dst"),
        (
            "slow-copy",
            "rclone-16",
            "rclone sync --links --metadata --create-empty-src-dirs --transfers 16 --checkers 16 /s/src /d/dst",
        ),
        ("slow-copy", "dcp-16", "mpirun -n 16 dcp -q -p /s/src /d/dst"),
        ("slow-resync", "dsync-16", "mpirun -n 16 dsync -q /s/src /d/dst"),
    ],
)
def test_commands_of_others(race_name: str, contestant: str, command: str) -> None:
    assert " ".join(argv_in(race_name, contestant)) == command


@pytest.mark.parametrize(
    "race_name, contestant, ranks, options",
    [
        ("copy-small", "plain", "", ""),
        ("copy-small", "mpich-4", "-n 4", ""),
        ("resync-fast", "mpich-4", "-n 4", "-hs 0 -pfl"),
        ("resync-tail", "openmpi-4", "-n 4", ""),
        ("slow-copy", "mpich-8", "-n 8", "-j 16"),
        ("slow-resync", "mpich-2", "-n 2", "-hs 0 -j 16 -pfl"),
        ("scale", "openmpi-8", "-n 8", ""),
    ],
)
def test_our_commands_have_the_options_of_the_race(race_name: str, contestant: str, ranks: str, options: str) -> None:
    words = argv_in(race_name, contestant)
    end = words.index("hpcp_mpi")
    assert " ".join(words[end + 1 :]) == " ".join(filter(None, (options, "/s/src /d/dst")))
    assert ranks in " ".join(words[:end]) and ("mpiexec" in words[0]) is bool(ranks)


def test_our_programs_may_be_kept_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    job = Job(Path("/s/src"), Path("/d/dst"), Path("/w"))
    assert "PYTHONDONTWRITEBYTECODE" not in CONTESTANTS["plain"].command(job).env


def test_titles_show_options_and_ranks() -> None:
    given = CONTESTANTS["mpich-4"].given({"hpcp-mpi": ("-j", "16"), "fpsync": ("-f", "100")})
    assert given.title == "hpcp-mpi -j 16 (MPICH, 4 ranks)"
    assert CONTESTANTS["rsync"].given({"hpcp-mpi": ("-j", "16")}).title == "rsync -a"


@pytest.mark.parametrize(
    "contestant, remedy",
    [("fpsync-2", "apt-get install fpart"), ("rclone", "apt-get install rclone"), ("dcp-4", "mpiFileUtils")],
)
def test_who_is_not_on_path_is_missing_with_the_way_to_get_it(
    contestant: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    why = CONTESTANTS[contestant].missing() or ""
    assert "not installed" in why and remedy in why


def test_an_option_that_this_version_does_not_know_makes_it_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contestants, "_our_help", lambda: "  -hs SIZE, --hash_size SIZE  tail\n  -j N  jobs, see -pflx")
    monkeypatch.setattr(launch.World, "missing", lambda self: None)
    ours = CONTESTANTS["plain"]
    assert ours.given({"hpcp-mpi": ("-hs", "0", "-j", "16")}).missing() is None
    assert ours.given({"hpcp-mpi": ("-hs", "0", "-pfl")}).missing() == "this hpcp-mpi does not know -pfl"


def test_trees_scale_and_say_what_they_are() -> None:
    assert str(races.SMALL) == "200,000 files of 4 KiB in 2,000 directories"
    assert str(races.SMALL.scaled(0.001)) == "200 files of 4 KiB in 2 directories"
    assert str(Big(4 << 30)) == "one file of 4 GiB" and str(Flat(99, size=0)) == "99 empty files in one directory"
    assert races.RACES["startup"].at(0.01) == races.RACES["startup"]
    assert "part of /usr" in races.RACES["usr-disk"].at(0.5).describe()


def test_the_estimate_counts_rounds_and_slow_ones(tmp_path: Path) -> None:
    setting = arena.Setting(tmp_path, rounds=5)
    cost = races.RACES["copy-small"].cost
    wanted = {"copy-small": ["cp", "hpcp"]}
    assert estimate.seconds(wanted, {"copy-small": setting}) == cost.prepare + 5 * cost.run + cost.slow
    assert 2 * estimate.seconds(wanted, {"copy-small": replace(setting, scale=0.5)}) == estimate.seconds(
        wanted, {"copy-small": setting}
    )
    assert estimate.words(1900) == "about 32 minutes" and estimate.words(7200) == "about 2.0 hours"


def test_bars_are_ratios_and_who_has_none_is_named() -> None:
    ours = Result("mpich-4", "ours", samples=(1.5,))
    found = report(CP, ours, Result("hpcp", "hpcp", "missing"), Result("rsync", "rsync", "failed"))
    assert [(bar.label, bar.length) for bar in plot.bars(found)] == [("cp -a", 1.0), ("ours", 0.5)]
    assert plot.bars(found)[1].text == "0.500 x   (1.50 s)"
    assert plot.lacking(found) == "missing: hpcp; failed: rsync"
    alone = Report("idle", "", "%", None, True, (ours,))
    assert [bar.text for bar in plot.bars(alone)] == ["1.50 %"] and plot.axis(alone) == "%"


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    ours = Result("mpich-4", "ours", samples=(1.5,))
    missing = Result("hpcp", "hpcp", "missing")
    found = [report(CP, ours), report(missing), Report("idle", "", "%", None, True, (ours,))]
    try:
        plot.write(tmp_path / "plot.png", found, "a machine")
    except plot.NoMatplotlib:
        assert importlib.util.find_spec("matplotlib") is None
    else:
        assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
