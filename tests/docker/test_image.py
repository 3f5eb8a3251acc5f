"""The image of docker/Dockerfile, built by a real engine: small, without root, and its copies are equal."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.docker.engine import Engine, missing
from tests.docker.project import project_version
from tests.slurm.cluster import eventually
from tests.support import oracle
from tests.support.marks import needs_commands
from tests.support.trees import Dir, File, HardLink, Sparse, Symlink, build, flat

pytestmark = [
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
    needs_commands("rsync"),
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(1200),  # whichever comes first builds
]

SOMEBODY = 4321  # no user of the image, nor of this machine


@pytest.fixture
def place(on_disk: Path) -> Path:
    """A directory with a tree in it, src."""
    more = {
        "link": Symlink("dir00000"),
        "twin": HardLink("dir00000/file0000000"),
        "holes": Sparse(4 << 20, ((1 << 20, b"data"),)),
        "noted": File(b"x", xattrs={"user.note": b"kept"}, acl="u::rw-,u:65534:r--,g::r--,m::rw-,o::---", mtime_ns=7),
        "secret": Dir({"in": File(b"secret", mode=0o600)}, mode=0o700, mtime_ns=11),
    }
    build(on_disk / "src", {**flat(400, per_directory=40), **more})
    return on_disk


def test_the_image_says_what_it_is_and_runs_without_root(engine: Engine) -> None:
    (image,) = json.loads(engine.docker("image", "inspect", "hpcp-mpi"))
    assert image["Config"]["Labels"]["org.opencontainers.image.version"] == project_version()
    assert image["Config"]["User"] == "1000:1000"
    assert engine.docker("run", "--rm", "hpcp-mpi", "id", "-un") == "hpcp\n"
    assert "mpiexec -n 4 hpcp-mpi SRC DST" in engine.run("run", "--rm", "hpcp-mpi").stderr


def test_everything_that_takes_part_is_in_it(engine: Engine) -> None:
    said = engine.docker("run", "--rm", "hpcp-mpi", "hpcp-mpi", "-V")
    for part in ("MPICH", "mpi4py", "numpy", "xxhash", "rich", "GNU coreutils"):
        assert part in said, said
    # Used only when there is enough to learn from, and what makes the image smaller could have broken it.
    squares = "import numpy; print(numpy.linalg.lstsq([[2.0]], [1.0], rcond=None)[0])"
    assert engine.docker("run", "--rm", "hpcp-mpi", "python", "-c", squares) == "[0.5]\n"


def test_nothing_that_only_the_build_needs_is_in_it(engine: Engine) -> None:
    for absent in ("gcc", "pip", "mpicc", "slurmd"):
        assert engine.run("run", "--rm", "hpcp-mpi", "sh", "-c", f"command -v {absent}").stdout == ""
    found = engine.docker("run", "--rm", "hpcp-mpi", "sh", "-c", "ls -d /src /root/.cache /var/lib/apt/lists/* || true")
    assert found == ""
    size, base = (
        int(engine.docker("image", "inspect", "-f", "{{.Size}}", name)) for name in ("hpcp-mpi", "debian:bookworm-slim")
    )
    assert size - base < 200 << 20, f"{size - base:,} bytes more than Debian"


def test_four_ranks_of_any_user_make_an_equal_copy(engine: Engine, place: Path) -> None:
    subprocess.run(["chown", "-hR", f"{SOMEBODY}:{SOMEBODY}", place], check=True)
    copy_in_container(engine, place, f"{SOMEBODY}:{SOMEBODY}")


def test_four_ranks_of_root_keep_the_owners(engine: Engine, place: Path) -> None:
    for owner, name in enumerate(("link", "noted", "secret", "dir00001"), 1000):
        os.chown(place / "src" / name, owner, owner + 1, follow_symlinks=False)
    copy_in_container(engine, place, "0:0")


def copy_in_container(engine: Engine, place: Path, user: str) -> None:
    """Copy src to dst as docker/README.md says, with nothing writable but the place, and compare."""
    limits = ["--read-only", "--tmpfs=/tmp", "--network=none", f"--user={user}", f"--volume={place}:/data"]
    words = ["mpiexec", "-n", "4", "hpcp-mpi", "--json", "/data/report", "/data/src", "/data/dst"]
    engine.docker("run", "--rm", *limits, "hpcp-mpi", *words)
    assert len(json.loads((place / "report").read_text())["ranks"]) == 3, "rank 0 plans"
    oracle.assert_equal_trees(place / "src", place / "dst")


@pytest.mark.parametrize("launcher", [[], ["mpiexec", "-n", "2"]], ids=["alone", "mpiexec"])
def test_docker_stop_ends_it_in_good_order(launcher: list[str], engine: Engine, place: Path) -> None:
    limits = ["--user=0", f"--volume={place}:/data"]
    words = [*launcher, "hpcp-mpi", "-F", "20", "/data/src", "/data/dst"]
    name = engine.docker("run", "--detach", *limits, "hpcp-mpi", *words).strip()
    try:
        eventually("something was copied", lambda: (place / "dst").is_dir() and any((place / "dst").rglob("file*")))
        engine.docker("stop", "--time=30", name)
        done = engine.run("logs", name)
        assert engine.docker("wait", name) == "75\n", done.stdout + done.stderr
    finally:
        engine.docker("rm", "--force", name)
    assert list((place / "dst").rglob(".hpcp-mpi.*")) == []
