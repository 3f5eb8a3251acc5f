"""The programs that the operations use."""

import os

from hpcp_mpi.host.commands import ENVIRONMENT, version_of
from hpcp_mpi.rules.excludes import from_lines

TOOLS = ("cp",)


def tool_versions() -> dict[str, str | None]:
    """Return the first line each tool prints of itself; None where it is missing."""
    return {tool: version_of(tool) for tool in TOOLS}


def exclude_lines(text: bytes) -> list[bytes]:
    """Return the patterns in the content of an exclude file."""
    return from_lines(text)


def find(program: str) -> str | None:
    """Return the path of a program that commands would run."""
    places = (f"{directory}/{program}" for directory in ENVIRONMENT["PATH"].split(":"))
    return next((place for place in places if os.access(place, os.X_OK)), None)
