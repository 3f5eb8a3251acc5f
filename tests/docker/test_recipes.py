"""The recipes that no tool of theirs can try here say the same as those that are tried, and as pyproject.toml."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.docker.engine import DOCKERFILE
from tests.docker.project import dependencies, oldest_python, project_version
from tests.support.everyone import REPOSITORY

DOCKER = REPOSITORY / "docker"
SPACK = DOCKER / "spack/spack_repo/hpcp_mpi"
MODULECMD = next(Path("/usr/lib").glob("*/modulecmd.tcl"), Path("/usr/lib/modulecmd.tcl"))
needs_modules = pytest.mark.skipif(not MODULECMD.exists(), reason="not installed: environment-modules")


def stages(dockerfile: str) -> dict[str, dict[str, list[str]]]:
    """What each stage of the Dockerfile has after its words RUN, LABEL, ENV and so on; the last stage is `final`."""
    joined = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", dockerfile, flags=re.M))
    found: dict[str, dict[str, list[str]]] = {}
    for line in joined.splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            name = rest.partition(" AS ")[2] or "final"
            found[name] = {}
        elif word:
            found[name].setdefault(word, []).append(re.sub(r"\s+", " ", rest.strip()))
    return found


def sections(definition: str) -> list[tuple[str, list[str]]]:
    """The sections of an Apptainer definition, in order, each with its lines."""
    found: list[tuple[str, list[str]]] = []
    for line in definition.splitlines():
        if line.startswith("%") or line.startswith("Bootstrap:"):
            found.append((line, []))
        elif found and line.strip():
            found[-1][1].append(line.strip())
    return found


def commands(runs: list[str]) -> list[str]:
    return [command.strip() for run in runs for command in run.split("&&")]


def test_the_apptainer_definition_runs_the_commands_of_the_dockerfile() -> None:
    image, parts = stages(DOCKERFILE.read_text()), sections((DOCKER / "hpcp-mpi.def").read_text())
    build, final = (lines for name, lines in parts if name == "%post")
    installing = commands(image["python"]["RUN"])
    assert final == installing, "what the image has from Debian"
    path, *building = build
    assert path == "export PATH=/opt/hpcp-mpi/bin:$PATH"
    # apt-get update is needed once, as nothing removed what it had fetched.
    assert building == installing[:-1] + commands(image["build"]["RUN"])[1:]
    assert "pip install --no-cache-dir '/src[mpich]'" in building


def test_the_apptainer_definition_has_the_environment_and_the_labels_of_the_image() -> None:
    image, parts = stages(DOCKERFILE.read_text()), dict(sections((DOCKER / "hpcp-mpi.def").read_text()))
    exported = [line.removeprefix("export ") for line in parts["%environment"]]
    assert exported == image["python"]["ENV"][0].split()
    labels = re.findall(r'(\S+)="([^"]*)"', image["final"]["LABEL"][0])
    assert [tuple(line.split(" ", 1)) for line in parts["%labels"]] == labels
    assert dict(labels)["org.opencontainers.image.version"] == project_version()
    sources = [line.split()[0] for line in parts["%files"]]
    copied = [word for copy in image["build"]["COPY"] for word in copy.split()[:-1]]
    assert sources == copied and all((REPOSITORY / source).exists() for source in sources)


def test_the_spack_recipe_names_the_version_and_the_dependencies_of_the_project() -> None:
    tree = ast.parse((SPACK / "packages/hpcp_mpi/package.py").read_text())
    (package,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert package.name == "HpcpMpi", "Spack derives it from the name of the directory"
    calls = [node.value for node in package.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    named: dict[str, list[str]] = {}
    for call in calls:
        named.setdefault(call.func.id, []).append(call.args[0].value)
    assert named["version"] == [project_version()]
    wanted = {f"py-{each.replace('>=', '@')}:" for each in dependencies()}
    wanted |= {f"python@{oldest_python()}:", "py-setuptools@77:"}
    assert {name for name in named["depends_on"] if name.startswith("py")} == wanted
    assert 'requires = ["setuptools>=77"]' in (REPOSITORY / "pyproject.toml").read_text()
    assert f"namespace: {SPACK.name}\n" in (SPACK / "repo.yaml").read_text()


def module(place: Path, *words: str, surroundings: dict[str, str]) -> dict[str, str]:
    """What has become of PATH and MANPATH after `module WORDS`, in a shell with these surroundings."""
    script = 'eval "$(tclsh "$0" sh "$@")" && printf "%s\\n" "$PATH" "${MANPATH-unset}"'
    done = subprocess.run(
        ["sh", "-c", script, MODULECMD, *words],
        env={"HOME": str(place), **surroundings},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0 and "ERROR" not in done.stderr, done.stderr
    said = done.stdout.splitlines()
    return {"PATH": said[-2], "MANPATH": said[-1], "said": done.stderr}


@needs_modules
def test_loading_the_module_shows_the_environment_and_unloading_hides_it(tmp_path: Path) -> None:
    root = f"/apps/hpcp-mpi/{project_version()}"
    bare = {"PATH": os.environ["PATH"], "MODULEPATH": str(DOCKER / "modulefiles")}
    loaded = module(tmp_path, "load", "hpcp-mpi", surroundings=bare)
    assert loaded["PATH"] == f"{root}/bin:{bare['PATH']}"
    # The empty part stands for where man looks without it.
    assert loaded["MANPATH"].split(":") == [f"{root}/share/man", ""]
    for word, text in (("help", "srun --mpi=pmi2 hpcp-mpi SRC DST"), ("whatis", f"hpcp-mpi {project_version()}: ")):
        assert text in module(tmp_path, word, "hpcp-mpi", surroundings=bare)["said"]
    also = {
        "LOADEDMODULES": f"hpcp-mpi/{project_version()}",
        "_LMFILES_": str(DOCKER / "modulefiles/hpcp-mpi" / project_version()),
    }
    unloaded = module(tmp_path, "unload", "hpcp-mpi", surroundings={**bare, **also, "PATH": loaded["PATH"]})
    assert unloaded["PATH"] == bare["PATH"]


def test_the_readme_names_the_version_of_the_project() -> None:
    named = set(re.findall(r"hpcp-mpi[/@](\d[\d.]*\d)", (DOCKER / "README.md").read_text()))
    assert named == {project_version()}
