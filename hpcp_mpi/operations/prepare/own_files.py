"""Before anything starts: a run's own files (ledger, report, lists) are neither what it removes nor what it replaces.

What can be known is refused here. What cannot (a directory that is renamed into a tree meanwhile, a file system that is
mounted twice) is kept where it would be removed: `OwnFile`, by name and inode, on every rank.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from hpcp_mpi.operations.prepare.arguments import expanded
from hpcp_mpi.rules import excludes
from hpcp_mpi.rules.landing import Landing, Type, place_sources
from hpcp_mpi.vocab.errors import FatalError, UsageError
from hpcp_mpi.vocab.job import OwnFile
from hpcp_mpi.vocab.paths import child_path, join, printable
from hpcp_mpi.vocab.request import Request, Verb

_BESIDE = (b"-journal", b"-wal", b"-shm")  # of a ledger
FAILED = "the list of failures"
_REMEDY = "Name a file that lies elsewhere."


@dataclass(frozen=True, slots=True)
class Own:
    """One of a run's own files."""

    called: str
    path: bytes  # as given
    is_ledger: bool = False

    @property
    def place(self) -> bytes:
        """The absolute path without symlinks. A link of that name is followed, as it is when the file is opened."""
        return os.path.realpath(self.path)


def own_files(
    request: Request,
    ledger: bytes | None,
    report: bytes | None,
    failed: bytes | None = None,
    log: bytes | None = None,
) -> list[Own]:
    """Return the own files of a run; pipes and what is on standard input or output are none."""
    found = [Own("the ledger", ledger, True)] if ledger is not None else []
    found += [Own("the report", report)] if report is not None else []
    found += [Own(FAILED, failed)] if failed is not None else []
    found += [Own("the log file", log)] if log is not None else []
    lists = (request.source_list, request.file_list, request.changes_file)
    found += [Own("the list", each) for each in lists if each and each != b"-"]
    return [each for each in found if os.path.isfile(each.path) or not os.path.lexists(each.place)]


def known(own: Iterable[Own]) -> frozenset[OwnFile]:
    """Return what shows every rank that a file is one of the run's."""
    found = set()
    for each in own:
        with suppress(OSError):
            inode, name = os.stat(each.place).st_ino, os.path.basename(each.place)
            found.add(OwnFile(name, name, inode))
            found |= {OwnFile(name + end, name, inode) for end in _BESIDE if each.is_ledger}
    return frozenset(found)


def refuse(request: Request, own: list[Own]) -> None:
    """Refuse a run that would remove or replace one of its own files. Raises UsageError."""
    _refuse_the_same(own)
    _refuse_images(own, request)
    options = request.options
    if request.verb is Verb.REMOVE or (request.verb is Verb.COPY and options.move):
        for pattern in request.sources:
            for argument in expanded(pattern):
                _refuse_in(argument, own, request)
    if request.verb is Verb.COPY:
        for destination in request.destinations:
            _refuse_at(destination, own, request)


def _refuse_the_same(own: list[Own]) -> None:
    places: dict[bytes, Own] = {}
    for each in own:
        for end in (b"", *(_BESIDE if each.is_ledger else ())):
            other = places.setdefault(each.place + end, each)
            if other is not each and not (other.called == each.called == "the list"):
                raise UsageError(
                    f"{printable(each.path)} is {other.called} and {each.called} of this run", "Name two files."
                )


def _refuse_images(own: list[Own], request: Request) -> None:
    """Refuse to write a list or a report over an image, a device or a patch that the run reads or writes."""
    images = request.images
    if images is None:
        return
    named = (*images.images, images.image, *images.patches, images.patch or b"")
    places = {os.path.realpath(name): name for name in named if name}
    for each in own:
        if each.place in places or any(_same_file(each.path, name) for name in places.values()):
            raise UsageError(
                f"{printable(each.path)} is {each.called} of this run, and one of its images or patches", _REMEDY
            )


def _same_file(one: bytes, other: bytes) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _refuse_in(argument: bytes, own: list[Own], request: Request) -> None:
    """Refuse what is removed with one of our files in it, or is one."""
    excluded = excludes.matcher(request.options.excludes)
    for each in own:
        within = _within(each.place, argument)
        if within is None and not _is_same_name(each, argument):
            continue
        path = child_path(os.path.abspath(argument), within or b"")
        if excluded is not None and any(excluded(above, above != path) for above in _and_above(path)):
            continue
        verb = "moved" if request.verb is Verb.COPY else "removed"
        raise UsageError(
            f"{each.called} {printable(each.path)} lies in {printable(argument)}, which is to be {verb}", _REMEDY
        )


def _is_same_name(own: Own, argument: bytes) -> bool:
    parent, name = os.path.split(argument.rstrip(b"/"))
    return bool(name) and own.place == child_path(os.path.realpath(parent or b"."), name)


def _refuse_at(destination: bytes, own: list[Own], request: Request) -> None:
    """Refuse a destination where one of our files would be extra, or is what a source's file lands on."""
    excluded = excludes.matcher(request.options.excludes)
    options = request.options
    for landing, root in _landings(destination, request):
        target = child_path(os.path.abspath(root), landing.target)
        for each in own:
            within = b"" if landing.name is not None and each.place == os.path.realpath(target) else None
            within = _within(each.place, target) if landing.name is None else within
            if within is None:
                continue
            source = join(os.path.abspath(landing.source_root), landing.name or within)
            out = excluded is not None and any(excluded(above, above != source) for above in _and_above(source))
            if not out and os.path.lexists(source):
                raise UsageError(
                    f"{printable(source)} would land on {each.called} of this run, {printable(each.path)}", _REMEDY
                )
            if options.mirror and (not out or options.delete_excluded):
                raise UsageError(
                    f"{each.called} {printable(each.path)} lies in {printable(target)}, which is made a mirror: "
                    "it would be removed",
                    f"{_REMEDY} Or exclude it (-e).",
                )


def outside(paths: Iterable[bytes], request: Request) -> list[bytes]:
    """Return those of some absolute paths that lie in no tree that the run reads or writes, and are none of its places.

    There may be very many sources: each is looked at once.
    """
    sources = [name for pattern in request.sources for name in expanded(pattern)]
    if request.source_list is not None:
        sources = [name.rstrip(b"/") + b"/" for name in sources or [b"."]]
    images, lists = request.images, (request.source_list, request.file_list, request.changes_file)
    named = [each + b"/" if os.path.isdir(each) else each for each in request.destinations]
    named += [each for each in lists if each]
    if images is not None:
        named += [each for each in (*images.images, images.image, *images.patches, images.patch) if each]
    left = {path: {key for each in (*_and_above(path), b"/") if (key := _inode(each)) is not None} for path in paths}
    for argument in (*named, *sources):
        found = _inode(argument, argument.endswith(b"/"))
        real = os.path.realpath(argument) if found is None or os.path.islink(argument) else None
        left = {path: above for path, above in left.items() if found not in above and real != path}
    return list(left)


def _inode(path: bytes, follow: bool = True) -> tuple[int, int] | None:
    """Return what an entry is known by; None where there is none."""
    try:
        found = os.stat(path, follow_symlinks=follow)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _landings(destination: bytes, request: Request) -> Iterator[tuple[Landing, bytes]]:
    """Yield where sources land, and the destination root. What is wrong with them is said elsewhere."""
    with suppress(FatalError, OSError):
        sources = [name for pattern in request.sources for name in expanded(pattern)]
        if request.source_list is not None:
            sources = [(sources[0] if sources else b".").rstrip(b"/") + b"/"]
        if sources:
            root, landings = place_sources(
                [(name, _type(name)) for name in sources], destination, os.path.isdir(destination)
            )
            yield from ((landing, root) for landing in landings)


def _type(argument: bytes) -> Type:
    if os.path.islink(argument):
        return Type.DIRECTORY_LINK if os.path.isdir(argument) else Type.OTHER
    return Type.DIRECTORY if os.path.isdir(argument) else Type.OTHER


def _within(path: bytes, directory: bytes) -> bytes | None:
    """Return path relative to a directory that it lies in, by inode: a file system may be mounted twice, too."""
    if os.path.islink(directory.rstrip(b"/")) and not directory.endswith(b"/"):
        return None
    try:
        wanted = os.stat(directory)
    except OSError:
        return None
    above, below = path, b""
    while above != b"/":
        above, name = os.path.split(above)
        below = join(name, below)
        with suppress(OSError):
            found = os.stat(above)
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                return below
    return None


def _and_above(path: bytes) -> Iterator[bytes]:
    while path != b"/":
        yield path
        path = os.path.dirname(path)
