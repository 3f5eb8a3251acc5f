"""--print-template and --print-module: what comes with the package, with the place of this installation in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hpcp_mpi.cli.options_how import TEMPLATES
from hpcp_mpi.cli.shipped import module_file, template
from tests.docker.project import project_version
from tests.support.everyone import REPOSITORY
from tests.support.launch import run

MODULE = REPOSITORY / "docker/modulefiles/hpcp-mpi" / project_version()


def changed(before: str, after: str) -> list[tuple[str, str]]:
    """The lines that differ."""
    return [pair for pair in zip(before.splitlines(), after.splitlines(), strict=True) if pair[0] != pair[1]]


def environment(place: Path) -> str:
    """What looks like a virtual environment."""
    (place / "bin").mkdir(parents=True)
    (place / "pyvenv.cfg").touch()
    (place / "bin/activate").touch()
    return str(place)


def test_the_names_of_the_templates_are_those_of_the_files() -> None:
    assert list(TEMPLATES) == sorted(path.stem for path in (REPOSITORY / "slurm").glob("*.sbatch"))


def test_without_a_name_the_templates_are_listed_with_what_they_do() -> None:
    *listed, blank, example = run(["--print-template"], flavour="plain").check().stdout.splitlines()
    assert [line.split()[0] for line in listed] == list(TEMPLATES)
    assert listed[0].split(maxsplit=1)[1] == "Copy a tree with several nodes"
    assert (blank, example) == ("", "hpcp-mpi --print-template copy > copy.sbatch")


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_the_file_but_for_the_environment_that_it_activates(name: str, tmp_path: Path) -> None:
    file = (REPOSITORY / f"slurm/{name}.sbatch").read_text()
    assert template(name, str(tmp_path)) == file, "not a virtual environment"
    prefix = environment(tmp_path / "an 'odd' $place")
    ((_, line),) = changed(file, template(name, prefix))
    assert line.endswith("  # EDIT: what brings hpcp-mpi, a venv or: module load hpcp-mpi")
    shown = subprocess.run(
        ["bash", "-c", line.replace(". ", "echo ", 1)], capture_output=True, text=True, check=True
    ).stdout
    assert shown == f"{prefix}/bin/activate\n"


def test_the_command_prints_a_template_of_its_own_environment() -> None:
    printed = run(["--print-template", "copy"], flavour="plain").check().stdout
    assert printed == template("copy") and f". {sys.prefix}/bin/activate  # EDIT" in printed


def test_another_template_is_refused() -> None:
    done = run(["--print-template", "nonesuch"], flavour="plain")
    assert done.returncode == 2 and done.stdout == "" and "copy-requeue" in done.stderr


def test_the_module_file_shows_the_place_of_the_installation() -> None:
    printed = run(["--print-module"], flavour="plain").check().stdout
    ((_, line),) = changed(MODULE.read_text(), printed)
    assert line.split()[:3] == ["set", "root", sys.prefix] and "# EDIT: " in line


def test_a_place_that_tcl_would_not_take_as_it_is_is_left_to_the_reader() -> None:
    assert module_file("/opt/a b") == module_file("/opt/$x") == MODULE.read_text()
    assert module_file("/opt/x-1.0") != MODULE.read_text()
