"""The templates in slurm/: each is submitted with only the marked lines edited, and what it does is judged by rsync."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, being_written, eventually, missing, on_slow_storage, venv_of
from tests.support import oracle
from tests.support.copies import items, rsync_items, stages
from tests.support.effort import seldom
from tests.support.everyone import REPOSITORY
from tests.support.marks import needs_commands, needs_fuse
from tests.support.trees import Dir, File, HardLink, Symlink, build, flat

TEMPLATES = REPOSITORY / "slurm"
NAMES = sorted(path.name for path in TEMPLATES.glob("*.sbatch"))
EDIT = re.compile(r"^(?:(?P<name>\w+)=)?.*# EDIT: ")

BARE = {"PATH": os.defpath}  # the tool is not on it: the template has to see to that

on_cluster = pytest.mark.skipif(missing() is not None, reason=missing() or "")
pytestmark = [needs_commands("rsync", "shellcheck")]


def edited(name: str, place: Path, flavour: str, values: dict[str, Path]) -> Path:
    """A copy of a template in which the marked lines are filled in, and no other."""
    left = dict(values)
    lines = []
    for line in (TEMPLATES / name).read_text().splitlines():
        match = EDIT.match(line)
        if match is None:
            lines.append(line)
        elif match["name"]:
            lines.append(f"{match['name']}='{left.pop(match['name'])}'")
        else:
            lines.append(f". '{venv_of(flavour)}/bin/activate'")
    assert not left, f"{name} has no line for {left}"
    script = place / name
    script.write_text("\n".join(lines) + "\n")
    return script


Submit = Callable[..., str]


@pytest.fixture
def submit(cluster: Cluster) -> Submit:
    def submit(name: str, *args: str, flavour: str = "mpich", options: tuple[str, ...] = (), **values: Path) -> str:
        script = edited(name, cluster.place, flavour, values)
        return cluster.submit(script, *args, options=options, flavour=flavour, env=BARE)

    return submit


@pytest.fixture
def src(cluster: Cluster) -> Path:
    place = cluster.place / "a source"
    more = {"link": Symlink("dir00000"), "twin": HardLink("dir00000/file0000000"), "*": File(b"star")}
    build(place, {**flat(400, per_directory=20), **more})
    return place


@pytest.mark.parametrize("name", NAMES)
def test_a_template_is_clean_and_has_no_more_than_three_lines_to_edit(name: str) -> None:
    text = (TEMPLATES / name).read_text()
    marked = [line for line in text.splitlines() if EDIT.match(line)]
    assert 2 <= len(marked) <= 3 and marked[-1].startswith(". ")
    assert name in (TEMPLATES / "README.md").read_text()
    # SC1091: what is activated is not there
    done = subprocess.run(["shellcheck", "-e", "SC1091", TEMPLATES / name], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", sorted(Path(__file__).parent.glob("*.sh")), ids=lambda path: path.name)
def test_the_scripts_of_the_lab_are_clean(script: Path) -> None:
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@on_cluster
@pytest.mark.parametrize("flavour", ["mpich", "openmpi"])
def test_copy_finds_the_flavour_and_uses_all_nodes(flavour: str, cluster: Cluster, src: Path, submit: Submit) -> None:
    dst = cluster.place / "a destination"
    job = cluster.wait(submit("copy.sbatch", "-e", "dir0001*", "--verify", flavour=flavour, SRC=src, DST=dst))
    assert job.state == "COMPLETED", str(job)
    assert "8 ranks (1 coordinates, 7 copy)" in job.log and "on 4 nodes" in job.log, str(job)
    left_out = [f"dir{number:05}" for number in range(10, 20)]
    oracle.assert_equal_trees(src, dst, exclude=left_out)
    assert not (dst / "dir00010").exists()


@on_cluster
def test_copy_fails_where_entries_fail_and_ends_where_the_environment_is_wrong(
    cluster: Cluster, src: Path, submit: Submit
) -> None:
    dst = cluster.place / "dst"
    build(dst, {"twin": Dir({"in the way": File(b"")})})
    job = cluster.wait(submit("copy.sbatch", SRC=src, DST=dst))
    assert (job.state, job.exit_code) == ("FAILED", 23), str(job)
    script = edited("copy.sbatch", cluster.place, "mpich", {"SRC": src, "DST": cluster.place / "other"})
    script.write_text(re.sub(r"(?m)^\. .*", "true", script.read_text()))
    job = cluster.wait(cluster.submit(script, env=BARE))
    assert (job.state, job.exit_code) == ("FAILED", 127), str(job)
    assert "hpcp-mpi: command not found" in job.log and not (cluster.place / "other").exists()


LIMIT = ("-L", "400K", "--heartbeat-timeout", "3")  # of 1.6 MB


@on_cluster
def test_with_no_kill_a_copy_goes_on_without_a_node_that_fails(cluster: Cluster, src: Path, submit: Submit) -> None:
    dst = cluster.place / "dst"
    number = submit("copy.sbatch", *LIMIT, options=("--no-kill", "--nodes=2", "--nodelist=n1,n4"), SRC=src, DST=dst)
    ledger = cluster.place / f"hpcp-mpi-{number}.ledger"
    # MPI connects at first use, and waits for a host that is gone by then.
    eventually("both ranks of n4 are at work", lambda: re.search(r"(?m)^n4 +2 ", status(cluster, ledger)))
    cluster.lab.off("n4")
    try:
        # As a health check does; Slurm itself takes SlurmdTimeout.
        cluster.slurm("scontrol", "update", "NodeName=n4", "State=down", "Reason=off")
        job = cluster.wait(number)
    finally:
        cluster.lab.boot("n4")
    assert (job.state, job.starts) == ("COMPLETED", 1), str(job)
    assert re.search(r"(?m)^lost: rank \d on n4 sent no heartbeat", job.log), str(job)
    oracle.assert_equal_trees(src, dst)
    assert stages(dst) == []


@on_cluster
def test_a_copy_is_requeued_when_the_node_of_rank_0_fails_and_goes_on(
    cluster: Cluster, src: Path, submit: Submit
) -> None:
    dst = cluster.place / "dst"
    number = submit("copy.sbatch", *LIMIT, options=("--nodes=2", "--nodelist=n3,n4"), SRC=src, DST=dst)
    ledger = cluster.place / f"hpcp-mpi-{number}.ledger"
    eventually("both ranks of n4 are at work", lambda: re.search(r"(?m)^n4 +2 ", status(cluster, ledger)))
    cluster.lab.off("n3")
    try:
        cluster.slurm("scontrol", "update", "NodeName=n3", "State=down", "Reason=off")
        again_from_the_start(cluster, number)
    finally:
        cluster.lab.boot("n3")
    job = cluster.wait(number)
    assert (job.state, job.starts) == ("COMPLETED", 2), str(job)
    assert "resumes 1 earlier run: " in job.log, str(job)
    oracle.assert_equal_trees(src, dst)
    assert "state: ended, exit code 0" in status(cluster, ledger)


def status(cluster: Cluster, ledger: Path) -> str:
    """What the tool shows of a ledger; nothing while there is none."""
    command = [venv_of("mpich") / "bin/python", "-m", "hpcp_mpi", "--status", ledger]
    return cluster.lab.run(command, env=cluster.environment("mpich")).stdout


@on_cluster
def test_a_rank_that_is_killed_ends_the_job_soon_and_it_goes_on_by_its_ledger(
    cluster: Cluster, src: Path, submit: Submit
) -> None:
    dst = cluster.place / "dst"
    slow = ("-L", "100K", *LIMIT[2:])  # 16 s: on a busy machine it takes some to kill one
    number = submit("copy.sbatch", *slow, SRC=src, DST=dst)
    eventually("a part is copied", lambda: list(dst.glob("dir*/file*")))
    kill = "for p in /proc/[0-9]*; do grep -qsz ^PMI_RANK=3 $p/environ && kill -9 ${p#/proc/}; done; true"
    cluster.lab.run(["sh", "-c", kill], host="n2")
    job = cluster.wait(number)
    assert job.state == "FAILED" and job.exit_code > 128 and "task 3: Killed" in job.log, str(job)
    ledger = f"hpcp-mpi-{number}.ledger"
    job = cluster.wait(submit("copy.sbatch", "--ledger", ledger, "--resume", SRC=src, DST=dst))
    assert (job.state, job.exit_code) == ("COMPLETED", 0), str(job)
    oracle.assert_equal_trees(src, dst)


def again_from_the_start(cluster: Cluster, number: str) -> None:
    """Have a job that was requeued start sooner than Slurm would: when its old credential is surely another one."""
    cluster.wait_for_requeue(number)
    cluster.slurm("scontrol", "update", f"JobId={number}", "StartTime=now+2")


@on_cluster
@needs_fuse
def test_copy_requeue_goes_on_until_it_is_complete(cluster: Cluster, src: Path, submit: Submit) -> None:
    backing, dst = cluster.place / "backing", cluster.place / "dst"
    with on_slow_storage(cluster.lab, backing, dst):
        number = submit("copy-requeue.sbatch", "-j", "1", SRC=src, DST=dst)
        eventually("a copy being made", lambda: being_written(backing))
        cluster.slurm("scancel", "--signal=USR1", f"{number}.0")  # as --signal does
        again_from_the_start(cluster, number)
        job = cluster.wait(number)
    assert (job.state, job.exit_code, job.starts) == ("COMPLETED", 0, 2), str(job)
    assert job.log.count("=== exit code 75: to be continued") == 1, str(job)
    assert "=== start 2 of job" in job.log and "hpcp-mpi: done: " in job.log
    assert rsync_items(src, backing) == {} and stages(backing) == []


@on_cluster
def test_copy_requeue_does_not_go_on_where_that_would_not_help(cluster: Cluster, src: Path, submit: Submit) -> None:
    build(cluster.place / "dst", {"twin": Dir({"in the way": File(b"")})})
    job = cluster.wait(submit("copy-requeue.sbatch", SRC=src, DST=cluster.place / "dst"))
    assert (job.state, job.exit_code, job.starts) == ("FAILED", 23, 1), str(job)
    script = cluster.place / "copy-requeue.sbatch"
    script.write_text(script.read_text().replace("\nMPI=\n", "\nMPI=pmix\n"))
    job = cluster.wait(cluster.submit(script, env=BARE))
    assert (job.state, job.starts) == ("FAILED", 1) and "name the flavour: srun --mpi=pmi2" in job.log, str(job)


@on_cluster
def test_sync_lists_first_and_mirrors_when_told_to(cluster: Cluster, src: Path, submit: Submit) -> None:
    dst = cluster.place / "dst"
    build(dst, {"dir00000": Dir({"old": File(b"old")}), "extra": Dir({"x": File(b"x")})})
    before = oracle.lstats(dst)
    job = cluster.wait(submit("sync.sbatch", SRC=src, DST=dst))
    assert job.state == "COMPLETED" and oracle.lstats(dst).keys() == before.keys(), str(job)
    changes = (cluster.place / f"hpcp-sync-{job.number}.changes").read_text()
    removals = sorted(re.findall(r"(?m)^\*deleting   (.*)", changes))
    assert removals == ["dir00000/old", "extra/", "extra/x"], changes
    assert items(changes).keys() >= rsync_items(src, dst).keys(), changes
    assert f"names {len(items(changes)) + 3} changes, 3 of them removals" in job.log, (str(job), changes)
    job = cluster.wait(submit("sync.sbatch", "go", SRC=src, DST=dst))
    assert job.state == "COMPLETED", str(job)
    assert rsync_items(src, dst, "--delete") == {} and not (dst / "extra").exists()


@on_cluster
def test_sync_removes_nothing_if_it_were_too_much(cluster: Cluster, src: Path, submit: Submit) -> None:
    dst = cluster.place / "dst"
    build(dst, flat(1001, size=0, per_directory=2000))
    (dst / "dir00000").rename(dst / "extra")
    job = cluster.wait(submit("sync.sbatch", "go", SRC=src, DST=dst))
    assert (job.state, job.exit_code) == ("FAILED", 25), str(job)
    assert len(list((dst / "extra").iterdir())) == 1001
    oracle.assert_equal_trees(src, dst, exclude=["extra"], top=False)


@on_cluster
def test_remove_lists_first_and_removes_when_told_to(cluster: Cluster, src: Path, submit: Submit) -> None:
    entries = len(oracle.lstats(src))
    job = cluster.wait(submit("remove.sbatch", TARGET=src))
    assert job.state == "COMPLETED" and len(oracle.lstats(src)) == entries, str(job)
    assert f"names the {entries} entries that would be removed" in job.log, str(job)
    job = cluster.wait(submit("remove.sbatch", "go", TARGET=src))
    assert job.state == "COMPLETED" and not src.exists(), str(job)
    job = cluster.wait(submit("remove.sbatch", "go", TARGET=src))
    assert (job.state, job.exit_code) == ("FAILED", 1), f"a name that is wrong is an error\n{job}"


@on_cluster
def test_verify_reads_every_byte(cluster: Cluster, src: Path, submit: Submit) -> None:
    dst = cluster.place / "dst"
    subprocess.run(["cp", "-a", src, dst], check=True)
    job = cluster.wait(submit("verify.sbatch", SRC=src, DST=dst))
    assert job.state == "COMPLETED" and "no differences" in job.log, str(job)
    flipped = dst / "dir00007/file0000150"
    times = flipped.stat()
    with flipped.open("r+b") as file:
        file.write(b"X")
    subprocess.run(
        ["touch", "-d", f"@{times.st_mtime_ns // 10**9}.{times.st_mtime_ns % 10**9:09}", flipped], check=True
    )
    job = cluster.wait(submit("verify.sbatch", SRC=src, DST=dst))
    assert (job.state, job.exit_code) == ("FAILED", 3) and "dir00007/file0000150" in job.log, str(job)


@on_cluster
@needs_commands("mksquashfs", "unsquashfs", "mkfs.ext4")
@pytest.mark.parametrize("suffix", [".img", *seldom([".sqsh"])])
def test_image_makes_one_and_restores_it(suffix: str, cluster: Cluster, src: Path, submit: Submit) -> None:
    image = cluster.place / f"a project{suffix}"
    job = cluster.wait(submit("image.sbatch", "-e", "dir0001*", SRC=src, IMG=image))
    assert job.state == "COMPLETED" and f"{image.name} made" in job.log, str(job)
    assert not list(cluster.place.glob("*.ledger")), "a run with images writes none"
    back = cluster.place / "back"
    job = cluster.wait(submit("image.sbatch", "restore", SRC=back, IMG=image))
    assert job.state == "COMPLETED", str(job)
    left_out = [f"dir{number:05}" for number in range(10, 20)]
    assert rsync_items(src, back, "--modify-window=1", *(f"--exclude={name}" for name in left_out)) == {}
    assert not (back / "dir00010").exists()
    job = cluster.wait(submit("image.sbatch", SRC=src, IMG=image))
    if suffix == ".sqsh":
        assert (job.state, job.exit_code) == ("FAILED", 1) and "is there already" in job.log, str(job)
    else:
        assert job.state == "COMPLETED" and "hpcp-mpi: done: 200 files" in job.log, f"the rest of it: {job}"


@on_cluster
def test_copy_array_copies_all_projects_and_verifies_them(cluster: Cluster) -> None:
    projects, dst = cluster.place / "projects", cluster.place / "archive"
    trees = {name: Dir(flat(40, per_directory=10)) for name in ("one", "two words", ".hidden", "*")}
    build(projects, {**trees, "a loose file": File(b"loose")})
    script = edited("copy-array.sbatch", cluster.place, "mpich", {"SRC": projects, "DST": dst})
    done = cluster.lab.run(["bash", script], env=cluster.environment("mpich") | BARE, cwd=cluster.place)
    assert done.returncode == 0, done.stderr
    match = re.search(r"job (\d+) copies the 4 directories that (.*) names, job (\d+) verifies them", done.stdout)
    assert match is not None, done.stdout
    job = cluster.wait(match[3])
    logs = {path.name: path.read_text() for path in cluster.place.glob("hpcp-array-*.log")}
    assert job.state == "COMPLETED" and "no differences" in job.log, (str(job), logs)
    assert sorted(logs) == sorted(
        [*(f"hpcp-array-{match[1]}_{n}.log" for n in (1, 2, 3, 4)), f"hpcp-array-verify-{match[3]}.log"]
    )
    assert not {name: log for name, log in logs.items() if "hpcp-mpi: done: " not in log}
    oracle.assert_equal_trees(projects, dst)
