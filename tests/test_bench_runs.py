"""The benchmarks measure what they say, and nobody wins by being broken."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench import (
    arena,
    cli,
    dfs,
    idle,
    mounts,
    races,
    rank0,
    shapes,
    sources,
    tables,
)
from tests.bench.benchmarks import BENCHMARKS
from tests.bench.contestants import Command, Contestant, Job
from tests.bench.results import Report
from tests.bench.trees import Flat
from tests.support import launch
from tests.support.marks import needs_commands, needs_fuse, needs_root, worlds

TINY = replace(races.RACES["copy-small"], source=Flat(30, per_directory=10))


def shell(name: str, script: str, *, missing: str | None = None) -> Contestant:
    """A contestant that is a shell script; $1 and $2 are SRC and DST."""

    def command(job: Job, options: Sequence[str]) -> Command:
        words = ("sh", "-c", script, "sh", str(job.src), str(job.dst))
        return Command(tuple(map(os.fsencode, words)), os.environ)

    return Contestant(name, name, f"the {name}", command, lambda options: missing)


def shown(found: Report) -> str:
    out = io.StringIO()
    tables.show(found, tables.console(out))
    return out.getvalue()


def race(tmp_path: Path, entrants: Sequence[Contestant], rounds: int = 1, held: races.Race = TINY) -> Report:
    found = arena.run(held, entrants, arena.Setting(tmp_path, tmp_path, rounds, timeout=60))
    assert list(tmp_path.glob("hpcp-mpi-bench-*")) == []
    return found


def test_without_names_everything_runs_but_what_takes_minutes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []
    for name, one in BENCHMARKS.items():
        stub = replace(one, run=lambda names, setting, name=name: ran.append(name) or [])
        monkeypatch.setitem(BENCHMARKS, name, stub)  # type: ignore[arg-type]
    assert cli.main(["--place", "/dev/shm"]) == 0
    named_only = [rank0.MEMORY, dfs.NAME, *dfs.RACES, shapes.NAME, *shapes.RACES]
    assert ran == [name for name in BENCHMARKS if name not in named_only]
    out = capsys.readouterr().out
    assert "This takes about" in out and "not without being named: rank0-memory" in out


def test_all_run_in_every_round_in_rotating_order_and_slow_ones_in_the_first_only(tmp_path: Path) -> None:
    log = tmp_path / "log"
    # The warm-up's source is another one.
    script = f'case $1 in */src) echo %s >>"{log}";; esac; cp -a -T "$1" "$2"'
    held = replace(TINY, slow=frozenset("b"))
    found = race(tmp_path, [shell(name, script % name) for name in "abc"], rounds=3, held=held)
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
    assert result.state == "ok" and result.remark == "wrong: 1 directory times"


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
    huge = replace(TINY, source=Flat(10**12))
    with pytest.raises(sources.NoRoom, match="--scale"):
        arena.run(huge, [], arena.Setting(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        "--only nothing",
        "--only resync",
        "--contestants mv",
        "--rounds 0",
        "--scale 2",
        "--scale nan",
        "--place /nowhere",
    ],
)
def test_wrong_options_are_refused(arguments: str) -> None:
    with pytest.raises(SystemExit) as refusal:
        cli.main(arguments.split())
    assert refusal.value.code == 2


def test_a_race_whose_ground_is_missing_names_all_as_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "ext4_unavailable", lambda: "needs root")
    held = replace(TINY, ground="disk")
    (result,) = race(tmp_path, [shell("well", 'cp -a -T "$1" "$2"')], held=held).results
    assert (result.state, result.remark) == ("missing", "needs root")


@needs_fuse
def test_on_slow_ground_every_operation_waits_and_the_copy_is_judged(tmp_path: Path) -> None:
    held = replace(TINY, ground="slow", source=Flat(3))
    well, broken = shell("well", 'cp -a -T "$1" "$2"'), shell("broken", 'mkdir "$2"')
    found = race(tmp_path, [well, broken], held=held)
    assert [result.state for result in found.results] == ["ok", "failed"]
    assert found.results[0].samples[0] > 10 * races.LATENCY_US / 1e6


@needs_root
@pytest.mark.skipif(mounts.ext4_unavailable() is not None, reason=str(mounts.ext4_unavailable()))
def test_on_disk_every_run_has_a_file_system_of_its_own(tmp_path: Path) -> None:
    held = replace(TINY, ground="disk")
    script = 'test "$(stat -f -c %T "${2%/*}")" = ext2/ext3 && test ! -e "${2%/*}/old" && cp -a -T "$1" "$2"'
    # The warm-up is not on it.
    script = f'case $1 in */src) {script} && touch "${{2%/*}}/old";; esac'
    (result,) = race(tmp_path, [shell("well", script)], rounds=2, held=held).results
    assert (result.state, result.remark, len(result.samples)) == ("ok", "", 2), result
    assert list(tmp_path.iterdir()) == []


def test_the_destination_is_a_copy_before_a_resync(tmp_path: Path) -> None:
    held = replace(TINY, present=True)
    script = 'case $1 in */src) test "$(ls "$2")" = "$(ls "$1")";; esac'
    (result,) = race(tmp_path, [shell("checks", script)], held=held).results
    assert result.state == "ok"


def test_without_matplotlib_it_says_so_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    place = ["--place", str(tmp_path), "--plot", str(tmp_path / "plot.png")]
    assert cli.main(["--only", "startup", "--contestants", "cp", "--rounds", "1", *place]) == 0
    assert "no picture without matplotlib" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@needs_commands("rsync")
def test_cp_and_rsync_race_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, file = tmp_path / "place", tmp_path / "result.json"
    place.mkdir()
    options = ["--contestants", "cp,cp-u,rsync,dcp-4", "--scale", "0.0005", "--rounds", "2"]
    where = ["--place", str(place), "--json", str(file)]
    assert cli.main(["--only", "copy-small,resync-tail,big-file,startup", *options, *where]) == 0
    out = capsys.readouterr().out
    assert "CPUs" in out and "copy 100 files of 4 KiB" in out and "ratio to cp -a" in out and "not measured" in out
    found = json.loads(file.read_text())["benchmarks"]
    assert list(found) == ["copy-small", "resync-tail", "big-file", "startup"]
    assert found["copy-small"]["contestants"]["rsync"]["state"] == "ok"
    assert found["copy-small"]["contestants"]["dcp-4"]["state"] in ("ok", "missing")
    assert len(found["resync-tail"]["contestants"]["cp-u"]["samples"]) == 2
    assert len(found["big-file"]["contestants"]["rsync"]["samples"]) == 1
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("world", worlds((4,), ("mpich",)))
def test_ours_race_and_rank_0_is_measured(world: launch.World, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    options = ["--contestants", f"cp,plain,{world}", "--scale", "0.0005", "--rounds", "1"]
    assert cli.main(["--only", "copy-small,list,rank0", *options, "--place", str(tmp_path), "--json", str(file)]) == 0
    found = json.loads(file.read_text())["benchmarks"]
    assert found["copy-small"]["contestants"][str(world)]["median"] > 0
    assert 5 < found["list-memory"]["contestants"]["plain"]["median"] < 300
    measured = {name: found[name]["contestants"][str(world)]["median"] for name in (rank0.CPU, rank0.SCAN, rank0.FIRST)}
    assert all(value > 0 for value in measured.values()), measured


@needs_fuse
@pytest.mark.parametrize("world", worlds((4,), ("mpich", "openmpi")))
def test_the_cpu_share_of_each_rank_is_measured_while_one_of_them_copies(world: launch.World, tmp_path: Path) -> None:
    shares = idle.measure(world, tmp_path, idle.Timing(settle=0.1, window=0.3, spare=4))
    assert list(shares.by_rank) == [0, 1, 2, 3] and shares.busy in shares.by_rank
    assert all(share >= 0 for share in shares.by_rank.values())
