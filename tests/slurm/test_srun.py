"""Under srun of a real Slurm, on hosts of their own: equal copies, early refusals, true exit codes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, being_written, eventually, missing, on_slow_storage
from tests.support import oracle
from tests.support.copies import stages
from tests.support.effort import TO_THE_END
from tests.support.marks import needs_commands, needs_fuse
from tests.support.trees import Dir, File, HardLink, Symlink, build, flat

pytestmark = [
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
    needs_commands("rsync"),
    pytest.mark.mpi,
    pytest.mark.root,
]


@pytest.fixture
def src(cluster: Cluster) -> Path:
    place = cluster.place / "src"
    more = {
        "link": Symlink("dir00000"),
        "twin": HardLink("dir00000/file0000000"),
        "locked": Dir({"secret": File(b"secret", mode=0o600, owner=(65534, 65534))}, mode=0o700, mtime_ns=7),
    }
    build(place, {**flat(600, per_directory=50), **more})
    return place


@pytest.mark.parametrize("flavour", ["mpich", "openmpi"])
def test_ranks_on_three_nodes_make_an_equal_copy(flavour: str, cluster: Cluster, src: Path) -> None:
    dst, report = cluster.place / "dst", cluster.place / "report.json"
    done = cluster.srun([src, dst, "-f", "20", "--json", report], flavour=flavour)
    assert done.returncode == 0, done.stderr
    oracle.assert_equal_trees(src, dst)
    nodes = [rank["node"] for rank in json.loads(report.read_text())["ranks"]]
    assert sorted(nodes) == ["n1", "n2", "n2", "n3", "n3"], "rank 0, on n1, plans"


@pytest.mark.parametrize("mpi", ["none", "pmix"])
def test_tasks_that_would_be_alone_are_refused_and_nothing_is_made(mpi: str, cluster: Cluster, src: Path) -> None:
    dst = cluster.place / "dst"
    done = cluster.srun([src, dst], mpi=mpi)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("hpcp-mpi: srun started 6 tasks") == 1, done.stderr
    assert "--mpi=pmi2 for MPICH" in done.stderr and "--mpi=pmix for Open MPI" in done.stderr
    assert not dst.exists()


def test_in_a_batch_script_without_srun_it_runs_alone(cluster: Cluster, src: Path) -> None:
    script = cluster.place / "plain.sbatch"
    script.write_text("#!/bin/sh\n#SBATCH -N2 --ntasks-per-node=2 --output=log\npython -m hpcp_mpi src dst\n")
    job = cluster.wait(cluster.submit(script))
    assert job.state == "COMPLETED", str(job)
    assert "1 rank (coordinates and copies)\n" in job.log
    oracle.assert_equal_trees(src, cluster.place / "dst")


@needs_fuse
def test_a_signal_from_scancel_ends_it_with_75_and_the_next_run_completes_it(cluster: Cluster, src: Path) -> None:
    backing, dst = cluster.place / "backing", cluster.place / "dst"
    with on_slow_storage(cluster.lab, backing, dst):
        with cluster.srunning([src, dst, "-j", "2"], options=["--job-name=slow"]) as srun:
            eventually("a copy being made", lambda: being_written(backing))
            number = cluster.slurm("squeue", "--noheader", "--format=%i", "--name=slow").strip()
            cluster.slurm("scancel", "--signal=TERM", f"{number}.0")
            said, _ = srun.communicate(timeout=20)
        assert srun.returncode == 75, said
        assert "stopped early by a signal" in said and "failed" not in said.replace("failed: 0", ""), said
    assert stages(backing) == []
    before = len(oracle.lstats(backing))
    assert before < len(oracle.lstats(src))
    assert cluster.srun([src, backing]).returncode == 0
    oracle.assert_equal_trees(src, backing)


def test_a_node_without_the_destination_is_refused_by_name(cluster: Cluster, src: Path) -> None:
    dst, elsewhere = cluster.place / "dst", cluster.place / "elsewhere"
    for place in (dst, elsewhere):
        place.mkdir()
    os.utime(elsewhere, (0, 0))  # what a node has there that did not mount it is older, or younger
    assert cluster.lab.run(["mount", "--bind", elsewhere, dst], host="n2").returncode == 0
    try:
        done = cluster.srun([src, dst], options=["--nodelist=n1,n2,n3"])
    finally:
        cluster.lab.run(["umount", dst], host="n2")
    assert done.returncode == 1, done.stderr
    assert "n2" in done.stderr.split("srun: error")[0] and str(dst) in done.stderr, done.stderr
    assert list(dst.iterdir()) == list(elsewhere.iterdir()) == []


def test_the_exit_code_of_failed_entries_comes_through(cluster: Cluster, src: Path) -> None:
    dst = cluster.place / "dst"
    build(dst, {"twin": Dir({"in": Dir({"the": File(b"way")})})})
    done = cluster.srun([src, dst], options=["--kill-on-bad-exit=1"])
    assert done.returncode == 23, done.stderr
    assert f"failed: {src}/twin" in done.stderr or f"failed: {dst}/twin" in done.stderr, done.stderr
    assert "1 entry failed (exit code 23)" in done.stderr, done.stderr


@needs_fuse
def test_many_ranks_on_four_hosts_are_busy_to_the_end(cluster: Cluster) -> None:
    per_node = 8 if TO_THE_END else 4
    workers = 4 * per_node - 1
    src, report = cluster.place / "many", cluster.place / "report.json"
    build(src, flat(2500, per_directory=25))
    backing, dst = cluster.place / "backing", cluster.place / "dst"
    with on_slow_storage(cluster.lab, backing, dst):
        options = ["-N4", f"--ntasks-per-node={per_node}", "--cpus-per-task=1"]
        done = cluster.srun([src, dst, "-j", "2", "-f", "50", "--json", report], options=options, timeout=100)
    assert done.returncode == 0, done.stderr
    told = json.loads(report.read_text())
    ranks = told["ranks"]
    assert len(ranks) == workers and all(rank["chunks"] for rank in ranks), [rank["chunks"] for rank in ranks]
    # From the first tenth on, until the last chunk is dealt out: what a chunk lasts is what the end may take.
    samples = [each for each in told["timeline"] if 0.1 * told["seconds"] < each["seconds"] < 0.75 * told["seconds"]]
    assert len(samples) > 5
    busy = sum(each["active"] for each in samples) / len(samples)
    assert busy > 0.9 * workers, [(each["seconds"], each["active"]) for each in told["timeline"]]
    oracle.assert_equal_trees(src, backing)
