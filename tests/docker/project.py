"""What pyproject.toml says, read without tomllib, which Python 3.10 has not."""

from __future__ import annotations

import ast
import re

from tests.support.everyone import REPOSITORY


def project_version() -> str:
    match = re.search(r'^__version__ = "(.+)"$', (REPOSITORY / "hpcp_mpi/__init__.py").read_text(), re.M)
    assert match is not None, "hpcp_mpi/__init__.py has no __version__"
    return match[1]


def dependencies() -> list[str]:
    """Of every installation, as name>=version of PyPI."""
    found = _value("dependencies")
    assert isinstance(found, list)
    return found


def oldest_python() -> str:
    return str(_value("requires-python")).removeprefix(">=")


def _value(key: str) -> object:
    match = re.search(rf"^{key} = (.+)$", (REPOSITORY / "pyproject.toml").read_text(), re.M)
    assert match is not None, f"no {key} in pyproject.toml"
    return ast.literal_eval(match[1])
