"""The toy cluster of docker/compose.yaml: what README.md and docker/README.md say is run on it as it stands there."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.engine import DOCKERFILE, Engine, missing
from tests.support import oracle
from tests.support.everyone import REPOSITORY
from tests.support.marks import needs_commands

pytestmark = [
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
    needs_commands("rsync"),
    pytest.mark.mpi,
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.to_the_end,
    pytest.mark.timeout(1200),  # whichever comes first builds
]


def lines_of_readme(start: str) -> list[str]:
    """The lines of docker/README.md's block of commands that has a line with this start, without what comes after #."""
    readme = DOCKERFILE.with_name("README.md").read_text()
    (block,) = [block for block in re.findall(r"```\n(.*?)```", readme, re.S) if f"\n{start}" in f"\n{block}"]
    return [line.split("  #")[0].strip() for line in block.splitlines()]


def compose(engine: Engine, line: str) -> str:
    """Run a line of docker compose, as one would in docker/."""
    words = shlex.split(line)
    assert words[:2] == ["docker", "compose"], line
    # Without a terminal; `docker compose` of today finds that out itself.
    return engine.compose(*["exec", "-T"] if words[2] == "exec" else [words[2]], *words[3:])


@pytest.fixture(scope="module")
def shared(engine: Engine) -> Iterator[Path]:
    """The volume of the cluster, seen from here, when docker/README.md's lines have been run."""
    change, *lines, down = lines_of_readme("docker compose up -d")
    assert change == "cd docker" and down.startswith("docker compose down"), "they are run in that order"
    try:
        for line in lines:
            compose(engine, line)
        yield Path(engine.docker("volume", "inspect", "-f", "{{.Mountpoint}}", "docker_shared").strip())
    except AssertionError as failure:
        raise AssertionError(f"{failure}\n{engine.compose('logs', '--tail=30')}\n{engine.log()}") from None
    finally:
        compose(engine, down)
    assert "docker_" not in engine.docker("volume", "ls", "-q") + engine.docker("ps", "-aq", "--format={{.Names}}")


def test_the_cluster_is_what_the_dockerfile_makes(engine: Engine, shared: Path) -> None:
    # The same steps, so the cache has them all, and no network is needed.
    before = engine.docker("image", "inspect", "-f", "{{.Id}}", "hpcp-mpi-slurm")
    engine.compose("build")
    assert engine.docker("image", "inspect", "-f", "{{.Id}}", "hpcp-mpi-slurm") == before


def test_the_lines_of_its_readme_make_an_equal_copy(shared: Path) -> None:
    assert len(oracle.lstats(shared / "old/proj")) > 1000
    oracle.assert_equal_trees(shared / "old/proj", shared / "new/proj")


def test_the_srun_line_of_the_readme_copies_over_all_nodes(engine: Engine, shared: Path) -> None:
    line = "srun -n 64 --mpi=pmi2 hpcp-mpi /old/proj -d /new/"
    assert f"\n{line} " in (REPOSITORY / "README.md").read_text()
    here = line.replace("-n 64", "-n 6 -N 3").replace(" /new/", " /shared/again/").replace("/old/", "/shared/old/")
    engine.compose("exec", "-T", "controller", *here.split(), "--json", "/shared/report")
    oracle.assert_equal_trees(shared / "old/proj", shared / "again/proj")
    ranks = json.loads((shared / "report").read_text())["ranks"]
    assert (len(ranks), {rank["node"] for rank in ranks}) == (5, {"n1", "n2", "n3"})


def test_machines_of_the_cluster_have_a_key_that_no_image_has(engine: Engine, shared: Path) -> None:
    ask = ["sha256sum", "/etc/munge/munge.key"]
    assert len({engine.compose("exec", "-T", name, *ask) for name in ("controller", "n1", "n3")}) == 1
    engine.docker("run", "--rm", "hpcp-mpi-slurm", "sh", "-c", "! ls /etc/munge/munge.key")
