"""-V: what takes part."""

import subprocess

import mpi4py

from hpcp_mpi import __version__
from tests.support.launch import run


def test_it_names_the_program_the_mpi_library_and_cp() -> None:
    done = run(["-V"], flavour="mpich", n=1)
    assert done.returncode == 0
    cp = subprocess.run(["cp", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    assert f"hpcp-mpi {__version__}" in done.stdout
    assert f"mpi4py {mpi4py.__version__}" in done.stdout
    assert "MPI library: MPICH" in done.stdout
    assert cp in done.stdout
    for package in ("xxhash", "numpy", "rich"):
        assert f"{package} not found" not in done.stdout


def test_without_mpi_it_says_so_and_goes_on() -> None:
    done = run(["-V"], flavour="nompi")
    assert done.returncode == 0
    assert "MPI library: cannot be loaded" in done.stdout
