"""What the benchmarks are made of: trees, the stopwatch, the judge, and what /proc tells."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.bench import (
    hpcp_venv,
    procs,
    rank0,
    sources,
    stopwatch,
    verify,
)
from tests.bench.contestants import Command
from tests.bench.trees import Big, Existing, Flat
from tests.support.marks import needs_commands
from tests.support.trees import File, HardLink, Symlink, build


def test_what_others_use_meanwhile_is_noticed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:
            outcome = stopwatch.timed(Command((b"sleep", b"1"), os.environ), timeout=60)
        finally:
            other.kill()
    assert outcome.foreign > 0.3 and outcome.cpu < 0.3


def test_the_flat_tree_has_as_many_files_of_the_size_as_asked_for(tmp_path: Path) -> None:
    sources.make(Flat(25, per_directory=10), tmp_path / "t")
    files = sorted((tmp_path / "t").glob("*/*"))
    assert [len(list(one.iterdir())) for one in sorted((tmp_path / "t").iterdir())] == [10, 10, 5]
    assert {one.stat().st_size for one in files} == {4096}
    assert len({one.read_bytes() for one in files}) == 25
    assert verify.size_of(tmp_path / "t") == (25, 25 * 4096)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_flat_tree_can_belong_to_many_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_QUIET_SECONDS", 0.0)
    tree = Flat(40, per_directory=10, users=3)
    sources.make(tree, tmp_path / "t")
    directories = [tmp_path / "t", *(tmp_path / "t").iterdir()]
    assert {one.stat().st_uid for one in directories} == {1000, 1001, 1002}
    assert {one.stat().st_mode & 0o777 for one in directories} == {0o755, 0o775}
    for one in directories[1:]:
        assert {each.stat().st_uid for each in one.iterdir()} == {one.stat().st_uid}
    assert str(tree) == "40 files of 4 KiB in 4 directories of 3 users"


def test_the_big_file_is_no_hole_and_repeats_nothing(tmp_path: Path) -> None:
    sources.make(Big(5 << 19), tmp_path / "t")
    content = (tmp_path / "t/big").read_bytes()
    assert len(content) == 5 << 19 and content[: 1 << 20] != content[1 << 20 : 2 << 20]
    assert (tmp_path / "t/big").stat().st_blocks * 512 >= len(content)


def test_a_part_of_an_existing_tree_is_a_copy_of_some_of_it(tmp_path: Path) -> None:
    sources.make(Flat(40, per_directory=10), tmp_path / "all")
    assert sources.make(Existing(tmp_path / "all"), tmp_path / "t") == tmp_path / "all"
    sources.make(Existing(tmp_path / "all", 0.25), tmp_path / "t")
    assert len(list((tmp_path / "t").glob("*/*"))) == 10


@needs_commands("rsync")
def test_what_many_do_not_keep_is_remarked_on_and_the_rest_is_not_forgiven(tmp_path: Path) -> None:
    tree = {"a": File(b"x", xattrs={"user.k": b"v"}), "b": HardLink("a"), "c": File(b"y"), "d": HardLink("c")}
    build(tmp_path / "src", {**tree, "link": Symlink("a", mtime_ns=10**18)})
    (tmp_path / "dst").mkdir()
    for name in "abcd":
        shutil.copy2(tmp_path / "src" / name, tmp_path / "dst" / name)
    for name in "ab":
        os.removexattr(tmp_path / "dst" / name, "user.k")
    os.symlink("a", tmp_path / "dst/link")
    shutil.copystat(tmp_path / "src", tmp_path / "dst")
    judgement = verify.judge(tmp_path / "src", tmp_path / "dst")
    assert judgement.error is None
    assert {"2 hard links", "2 extended attributes"} <= set(judgement.remark.removeprefix("wrong: ").split(", "))
    assert "1 link times" in judgement.remark
    os.chmod(tmp_path / "dst/a", 0o600)
    assert "wrong copy" in (verify.judge(tmp_path / "src", tmp_path / "dst").error or "")


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


def test_peak_memory_is_that_of_the_biggest_process_and_not_of_who_started_it() -> None:
    ballast = b"x" * (300 << 20)
    big = f"{sys.executable} -c 'import time; content = b\"x\" * (80 << 20); time.sleep(1)'; true"
    command = Command((b"sh", b"-c", os.fsencode(big)), os.environ)
    peak = procs.PeakOfBiggest()
    assert stopwatch.timed(command, 60, look=peak).failure is None and ballast
    assert 80 << 20 < peak.bytes < 200 << 20


def test_the_first_content_is_noticed_wherever_it_appears(tmp_path: Path) -> None:
    into = tmp_path / "into"
    assert not rank0.has_content(into)
    build(into, {"stage": File(b""), ".hidden": File(b"")})
    assert not rank0.has_content(into)
    (into / ".stage").mkdir()
    (into / ".stage/file").write_bytes(b"x")
    assert rank0.has_content(into)
