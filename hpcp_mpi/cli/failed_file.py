"""The file with the names of all that failed, in the form that `-sfl` reads."""

import os
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress

from hpcp_mpi.formats.file_list import escaped
from hpcp_mpi.host.output_file import Output, output_at
from hpcp_mpi.operations.prepare.own_files import FAILED, outside
from hpcp_mpi.vocab.errors import Failure, FatalError, reason_of
from hpcp_mpi.vocab.paths import printable, relative_to
from hpcp_mpi.vocab.request import Request

_AT_ONCE = 4096  # names that are written together
_END = b".ledger"


def default_places(request: Request, ledger: bytes | None) -> list[bytes]:
    """Return where the file may be if no user says it, best first: absolute paths.

    It is beside the ledger and called like that, else in the working directory, else at home, and called so that the
    same command finds it again. It is never in a tree that the run reads or writes.
    """
    return outside(_places(request, ledger), request)


def _places(request: Request, ledger: bytes | None) -> Iterator[bytes]:
    if ledger is not None:
        yield os.path.realpath(ledger).removesuffix(_END) + b".failed.list"
    try:
        here = os.getcwdb()
    except OSError:  # it was removed
        here = b""
    name = b"hpcp-mpi-failed-" + _key(request, here) + b".list"
    home = os.fsencode(os.path.expanduser("~"))
    yield from (os.path.join(each, name) for each in (here, home) if each.startswith(b"/"))


def _key(request: Request, here: bytes) -> bytes:
    """Return what tells the command from others in the same directory."""
    named = [request.verb.value.encode(), request.source_list or b"", b"", *request.sources, b"", *request.destinations]
    whole = b"\0".join(os.path.join(here, each) if each else b"" for each in named)
    return b"%08x" % zlib.crc32(whole)  # every run asks for it: hashlib takes 3 ms to be loaded


def failed_at(path: bytes) -> Output:
    """Return the place that a user names for the file. Raises FatalError if it could not be written there."""
    shown = f"the list of failures {printable(path)}"
    try:
        output = output_at(path, FAILED)
    except OSError as error:
        raise FatalError(f"{shown} cannot be written: {reason_of(error)}", "Nothing was done.") from None
    if output.directory is not None and not os.access(output.directory, os.W_OK | os.X_OK):
        output.close()
        raise FatalError(f"{shown} cannot be written: Permission denied", "Nothing was done.")
    return output


def write(output: Output, failures: Sequence[Failure], base: bytes | None, private: bool = False) -> None:
    """Write the names of what failed, each once, as a file list. Raises OSError.

    base: the directory that the names are relative to; None: they are absolute, which -sfl refuses
    private: nobody else may read it, if it is new
    """
    with output.opened() as file:
        if private and output.inode is None:
            os.fchmod(file.fileno(), 0o600)
        lines: list[bytes] = []
        for failure in failures:
            name = failure.path if base is None else relative_to(failure.path, base)
            lines.append(escaped(name or failure.path) + b"\n")
            if len(lines) == _AT_ONCE:
                file.write(b"".join(lines))
                lines.clear()
        file.write(b"".join(lines))


def write_first(paths: Sequence[bytes], failures: Sequence[Failure], base: bytes | None) -> tuple[bytes | None, str]:
    """Write the file to the first of some places that takes it; return that, and why the first one did not.

    Nobody said who may read it, and it has names of directories that others may not list.
    """
    why = "" if paths else "the working directory and home are among what is copied"
    for path in paths:
        try:
            output = output_at(path, FAILED)
        except (OSError, FatalError) as error:
            why = why or (f"{printable(path)}: {reason_of(error)}" if isinstance(error, OSError) else error.message)
            continue
        try:
            if output.in_place:
                continue
            write(output, failures, base, private=True)
            return output.path, ""
        except OSError as error:
            why = why or f"{printable(path)}: {reason_of(error)}"
        finally:
            output.close()
    return None, why


def remove_old(paths: Sequence[bytes]) -> None:
    """Remove what an earlier run of the same command left: nobody is to do again what has not failed.

    By the name itself, unlike `Output.remove`: no user gave it, so a link there leads to nothing of ours.
    """
    for path in paths:
        with suppress(OSError):
            old = os.lstat(path)
            if stat.S_ISREG(old.st_mode) and old.st_uid == os.geteuid():
                os.unlink(path)
