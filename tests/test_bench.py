"""The benchmarks measure what they say, and nobody wins by being broken, missing or quiet about it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench import arena, cli, hpcp_venv, idle, procs, races, stopwatch, tables, verify
from tests.bench.contestants import CONTESTANTS, Command, Contestant
from tests.bench.results import Report, Result, rotated
from tests.bench.targets import TARGETS, Target, verdicts
from tests.support import launch
from tests.support.marks import needs_commands, needs_fuse, worlds
from tests.support.trees import build, flat

TINY = replace(races.RACES["copy-small"], files=30, per_directory=10)


def shell(name: str, script: str, *, slow: bool = False, missing: str | None = None) -> Contestant:
    """A contestant that is a shell script; $1 and $2 are SRC and DST."""

    def command(src: Path, dst: Path) -> Command:
        words = ("sh", "-c", script, "sh", str(src), str(dst))
        return Command(tuple(map(os.fsencode, words)), os.environ)

    return Contestant(name, f"the {name}", command, lambda: missing, slow)


def report(*results: Result, full_size: bool = True) -> Report:
    return Report("copy-small", "a copy", "s", "cp", full_size, results)


def race(tmp_path: Path, contestants: Sequence[Contestant], rounds: int = 1, timeout: float = 60) -> Report:
    found = arena.run(TINY, contestants, arena.Setting(tmp_path, rounds, timeout=timeout))
    assert list(tmp_path.glob("hpcp-mpi-bench-*")) == []
    return found


def shown(found: Report) -> str:
    out = io.StringIO()
    tables.show(found, tables.console(out))
    return out.getvalue()


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


def test_what_others_use_meanwhile_is_noticed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:
            outcome = stopwatch.timed(Command((b"sleep", b"1"), os.environ), timeout=60)
        finally:
            other.kill()
    assert outcome.foreign > 0.3 and outcome.cpu < 0.3


def test_all_names_in_races_and_targets_exist() -> None:
    for one in races.RACES.values():
        assert {*one.contestants, one.baseline} <= CONTESTANTS.keys()
    for target in TARGETS:
        is_idle = target.benchmark == idle.NAME
        able = idle.CONTESTANTS_WITH_RANKS if is_idle else races.RACES[target.benchmark].contestants
        assert {target.contestant, *([target.of] if target.of else [])} <= set(able)


def test_the_flat_tree_has_as_many_files_of_the_size_as_asked_for(tmp_path: Path) -> None:
    build(tmp_path / "t", flat(25, size=4096, per_directory=10))
    files = sorted((tmp_path / "t").glob("*/*"))
    assert [len(list(one.iterdir())) for one in sorted((tmp_path / "t").iterdir())] == [10, 10, 5]
    assert {one.stat().st_size for one in files} == {4096}
    assert len({one.read_bytes() for one in files}) == 25
    assert verify.size_of(tmp_path / "t") == (25, 25 * 4096)


def test_all_run_in_every_round_in_rotating_order_and_slow_ones_in_the_first_only(tmp_path: Path) -> None:
    log = tmp_path / "log"
    names = {"a": False, "b": True, "c": False}
    # The warm-up's source is another one.
    script = f'case $1 in */src) echo %s >>"{log}";; esac; cp -a -T "$1" "$2"'
    found = race(tmp_path, [shell(name, script % name, slow=slow) for name, slow in names.items()], rounds=3)
    assert log.read_text().split() == ["a", "b", "c", "c", "a", "c", "a"]
    assert [(r.state, len(r.samples)) for r in found.results] == [("ok", 3), ("ok", 1), ("ok", 3)]


@pytest.mark.parametrize(
    "script",
    [
        "true",
        'cp -a -T "$1" "$2"; rm "$2"/dir00000/file0000003',
        'cp -a -T "$1" "$2"; printf x | dd of="$2"/dir00000/file0000003 conv=notrunc bs=1 status=none',
    ],
    ids=["copies nothing", "forgets one", "corrupts one"],
)
def test_a_copy_that_is_wrong_cannot_win(script: str, tmp_path: Path) -> None:
    (result,) = race(tmp_path, [shell("cheat", script)], rounds=2).results
    assert result.state == "failed" and result.remark.startswith("wrong copy") and result.median is None


def test_a_file_of_equal_size_and_time_with_other_content_is_a_wrong_copy(tmp_path: Path) -> None:
    script = 'cp -a -T "$1" "$2"; f=dir00000/file0000003; tr 3 4 <"$1"/$f >"$2"/$f; touch -r "$1"/$f "$2"/$f'
    (result,) = race(tmp_path, [shell("cheat", script)]).results
    assert result.state == "failed"


@needs_commands("rsync")
def test_wrong_directory_times_alone_are_remarked_on(tmp_path: Path) -> None:
    script = 'cp -a -T "$1" "$2"; touch -d 2001-01-01 "$2"/dir00001'
    (result,) = race(tmp_path, [shell("hasty", script)]).results
    assert result.state == "ok" and result.remark == "leaves 1 directory times wrong"


def test_a_failure_is_shown_with_the_end_of_its_stderr_and_the_others_go_on(tmp_path: Path) -> None:
    broken, well = shell("broken", "echo it went [boom] >&2; exit 3"), shell("well", 'cp -a -T "$1" "$2"')
    found = race(tmp_path, [broken, well], rounds=2)
    assert [result.state for result in found.results] == ["failed", "ok"]
    text = shown(found)
    assert "exit status 3" in text and "it went [boom]" in text


def test_who_is_missing_is_not_started(tmp_path: Path) -> None:
    (result,) = race(tmp_path, [shell("absent", f'touch "{tmp_path}/started"', missing="get it there")]).results
    assert (result.state, result.remark) == ("missing", "get it there")
    assert not (tmp_path / "started").exists()


def test_a_place_that_is_too_small_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    huge = replace(TINY, files=10**12)
    with pytest.raises(arena.NoRoom, match="--scale"):
        arena.run(huge, [], arena.Setting(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_after_the_time_limit_nothing_is_alive_not_even_what_has_another_environment(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"env -i sh -c 'echo $$ >\"{pids}\"; exec sleep 1000'"
    outcome = stopwatch.timed(Command((b"sh", b"-c", os.fsencode(f"{script}; true")), os.environ), timeout=1)
    assert outcome.failure == "not done after 1 s"
    pid = pids.read_text().strip()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        if ") Z " in Path(f"/proc/{pid}/stat").read_text():
            break
        time.sleep(0.01)
    else:
        assert not Path(f"/proc/{pid}").exists()


def test_cpu_time_is_that_of_the_process(tmp_path: Path) -> None:
    script = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert 0.45 < procs.cpu_seconds(process.pid) < 0.7
        assert process.pid in procs.descendants(os.getpid())
        process.communicate(b"\n")


def test_hpcp_that_cannot_be_installed_is_missing_with_the_way_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HPCP_MPI_BENCH_HPCP", str(tmp_path / "file/venv"))
    assert "pip install hpcp" in (hpcp_venv.missing.__wrapped__() or "")


@pytest.mark.parametrize(
    "arguments", ["--only nothing", "--contestants mv", "--rounds 0", "--scale 2", "--scale nan", "--place /nowhere"]
)
def test_wrong_options_are_refused(arguments: str) -> None:
    with pytest.raises(SystemExit) as refusal:
        cli.main(arguments.split())
    assert refusal.value.code == 2


@needs_commands("rsync")
def test_cp_and_rsync_race_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, file = tmp_path / "place", tmp_path / "result.json"
    place.mkdir()
    options = ["--contestants", "cp,cp-u,rsync", "--scale", "0.002", "--rounds", "2"]
    where = ["--place", str(place), "--json", str(file)]
    assert cli.main(["--only", "copy-small,resync,startup", *options, *where]) == 0
    out = capsys.readouterr().out
    assert "CPUs" in out and "copy 100 files of 4 KiB" in out and "ratio to cp -a" in out and "not measured" in out
    found = json.loads(file.read_text())["benchmarks"]
    assert list(found) == ["copy-small", "resync", "startup"]
    assert found["copy-small"]["contestants"]["rsync"]["state"] == "ok"
    assert len(found["resync"]["contestants"]["cp-u"]["samples"]) == 2
    assert list(place.iterdir()) == []


@needs_fuse
@pytest.mark.parametrize("world", worlds((4,), ("mpich", "openmpi")))
def test_the_cpu_share_of_each_rank_is_measured_while_one_of_them_copies(world: launch.World, tmp_path: Path) -> None:
    shares = idle.measure(world, tmp_path, idle.Timing(settle=0.1, window=0.3, spare=4))
    assert list(shares.by_rank) == [0, 1, 2, 3] and shares.busy in shares.by_rank
    assert all(share >= 0 for share in shares.by_rank.values())
