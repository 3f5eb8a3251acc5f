"""The versions of all programs and libraries in use, which -V prints."""

import platform
from importlib import metadata

from hpcp_mpi import __version__
from hpcp_mpi.operations.prepare.tools import tool_versions


def describe() -> str:
    """Return the versions, a line for each program or library."""
    lines = [f"hpcp-mpi {__version__}, Python {platform.python_version()}", f"mpi4py {_package('mpi4py')}"]
    lines.append(f"MPI library: {_library()}")
    lines += [f"{name} {_package(name)}" for name in ("xxhash", "numpy", "rich")]
    lines += [f"{name}: {version or 'not found'}" for name, version in tool_versions().items()]
    return "\n".join(lines)


def _package(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not found"


def _library() -> str:
    try:
        from hpcp_mpi.cluster.mpi import library_version
    except (ImportError, RuntimeError) as error:
        return f"cannot be loaded ({str(error).strip().splitlines()[0]})"
    return library_version()
