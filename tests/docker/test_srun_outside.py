"""The files of the image under srun from outside, as Apptainer starts them: srun makes one world of their ranks."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.engine import Engine, missing
from tests.slurm.cluster import Cluster
from tests.slurm.cluster import missing as missing_for_slurm
from tests.slurm.lab import Lab
from tests.support import oracle
from tests.support.marks import needs_commands
from tests.support.trees import Symlink, build, flat

_MISSING = missing() or missing_for_slurm()
pytestmark = [
    pytest.mark.skipif(_MISSING is not None, reason=_MISSING or ""),
    needs_commands("rsync"),
    pytest.mark.mpi,
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.to_the_end,
    pytest.mark.timeout(1200),  # if it comes first, it builds
]

# What `apptainer exec --bind` does: its own mounts, everything else (processes, network, descriptors, most of the
# environment) of the host. $0: the image's files; $1: what is bound; the rest is the command.
LIKE_APPTAINER = """\
set -eu
image=$0 bound=$1
shift
for place in /proc /dev /tmp /run "$bound"; do mount --rbind "$place" "$image$place"; done
mount -t sysfs none "$image/sys"
export PATH=/opt/hpcp-mpi/bin:/usr/bin:/usr/sbin MPIR_CVAR_CH4_CMA_ENABLE=0
exec chroot "$image" "$@"
"""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Lab(["n1", "n2", "n3"]) as lab:
        yield Cluster(lab, lab.shared)


def unpack(engine: Engine, place: Path) -> Path:
    """The files of the image, as a directory that all hosts see."""
    image, tar = place / "image", place / "image.tar"
    image.mkdir()
    name = engine.docker("create", "hpcp-mpi").strip()
    engine.docker("export", "-o", str(tar), name)
    engine.docker("rm", name)
    subprocess.run(["tar", "-xpf", tar, "-C", image], check=True)
    tar.unlink()
    return image


def test_its_ranks_on_three_nodes_make_an_equal_copy(engine: Engine, cluster: Cluster) -> None:
    place = cluster.place
    image = unpack(engine, place)
    (image / str(place).lstrip("/")).mkdir(parents=True)
    build(place / "src", {**flat(400, per_directory=40), "link": Symlink("dir00000")})
    contained = ["unshare", "--mount", "sh", "-c", LIKE_APPTAINER, str(image), str(place)]
    hpcp_mpi = ["hpcp-mpi", "--json", str(place / "report"), str(place / "src"), str(place / "dst")]
    srun = ["srun", "--mpi=pmi2", "-N3", "--ntasks-per-node=2", *contained, *hpcp_mpi]
    done = cluster.lab.run(srun, cwd=place, timeout=120)
    assert done.returncode == 0, done.stderr
    oracle.assert_equal_trees(place / "src", place / "dst")
    nodes = [rank["node"] for rank in json.loads((place / "report").read_text())["ranks"]]
    assert sorted(nodes) == ["n1", "n2", "n2", "n3", "n3"], "rank 0, on n1, plans"
