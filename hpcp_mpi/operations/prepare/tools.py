"""The programs that the operations use."""

from hpcp_mpi.host.commands import version_of
from hpcp_mpi.rules.excludes import from_lines

TOOLS = ("cp",)


def tool_versions() -> dict[str, str | None]:
    """Return the first line each tool prints of itself; None where it is missing."""
    return {tool: version_of(tool) for tool in TOOLS}


def exclude_lines(text: bytes) -> list[bytes]:
    """Return the patterns in the content of an exclude file."""
    return from_lines(text)
