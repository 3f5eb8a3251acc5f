"""python -m hpcp_mpi takes no module from the working directory, which may be another user's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.launch import REPOSITORY
from tests.support.marks import needs_root

PLANTED = "open({!r}, 'w').close()\n"


def tool(cwd: Path, *options: str, path: str = str(REPOSITORY)) -> subprocess.CompletedProcess[str]:
    (cwd / "src").mkdir(exist_ok=True)
    (cwd / "src/a").write_text("a")
    command = [sys.executable, *options, "-m", "hpcp_mpi", "-fl", "-", "src"]  # hashes: xxhash is imported
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)


def planted(directory: Path, module: str) -> Path:
    proof = directory / "it-ran"
    (directory / f"{module}.py").write_text(PLANTED.format(str(proof)))
    return proof


@pytest.mark.parametrize("module", ["xxhash", "mpi4py", "rich", "sqlite3", "tempfile"])
def test_a_module_in_the_working_directory_is_not_imported(module: str, on_tmpfs: Path) -> None:
    proof = planted(on_tmpfs, module)
    assert tool(on_tmpfs).returncode == 0
    assert not proof.exists()
    subprocess.run([sys.executable, "-c", f"import {module}"], cwd=on_tmpfs, capture_output=True, timeout=60)
    assert proof.exists(), "as a program imports it that does not look"


@needs_root
def test_root_does_not_go_on_with_modules_of_a_directory_that_others_may_write_to(on_tmpfs: Path) -> None:
    """What runpy imports has run before anything of ours has."""
    shutil.copytree(REPOSITORY / "hpcp_mpi", on_tmpfs / "hpcp_mpi", ignore=shutil.ignore_patterns("__pycache__"))
    on_tmpfs.chmod(0o777)
    done = tool(on_tmpfs, path="")
    assert done.returncode == 1 and "took modules from the working directory" in done.stderr, done
    assert "start it as hpcp-mpi" in done.stderr and done.stdout == ""
    on_tmpfs.chmod(0o755)
    assert tool(on_tmpfs, path="").returncode == 0, "as a clone of one's own is used"
    os.chown(on_tmpfs, 65534, 65534)
    assert tool(on_tmpfs, path="").returncode == 1
    assert tool(on_tmpfs, path=str(on_tmpfs)).returncode == 0, "PYTHONPATH is the user's will"
