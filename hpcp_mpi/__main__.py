"""python -m hpcp_mpi"""

import os
import sys


def _leave_out_the_working_directory() -> None:
    """Take the working directory, which -m puts first, from where modules are looked for: others may write to it.

    Modules of this package are found without it, also where the package itself was found there. -P (Python 3.11), -I
    and PYTHONSAFEPATH say that it is not there; what PYTHONPATH names is the user's will.
    """
    if not getattr(sys.flags, "safe_path", False) and not sys.flags.isolated and sys.path:
        try:
            here = {"", os.getcwd()}
        except OSError:
            here = {""}
        if sys.path[0] in here:
            del sys.path[0]


def _refuse_what_lies_here() -> None:
    """End the program if modules came from a working directory that others may write to, and this is root.

    They have run by now, and may be anyone's; but hpcp-mpi does nothing more with root's rights.
    """
    try:
        directory = os.getcwd()
        status = os.stat(directory)
    except OSError:
        return
    if os.geteuid() != 0 or (status.st_uid == 0 and not status.st_mode & 0o022):
        return
    inside = os.path.join(directory, "")
    meant = map(os.path.abspath, sys.path)  # by PYTHONPATH, or as the package is installed there
    files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    found = next((file for file in files if file.startswith(inside) and os.path.dirname(file) + "/" == inside), "")
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if directory not in meant and (found or package == directory):
        where = ascii(found or os.path.dirname(os.path.abspath(__file__)))
        sys.exit(
            f"hpcp-mpi: Python took modules from the working directory, {where}, and others may write to that\n"
            "  Change to another directory, or start it as hpcp-mpi, or with python -I -m hpcp_mpi"
        )


_leave_out_the_working_directory()
_refuse_what_lies_here()

from hpcp_mpi.cli.main import console  # noqa: E402

console()
