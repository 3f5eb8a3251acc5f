"""Options that contradict each other or are never safe together, however they were given.

The command line and the Python API refuse them with the same sentences; each calls the options as its users do.
"""

from collections.abc import Callable, Iterator
from typing import Any


def contradictions(
    given: Any, name: Callable[[str], str], spread: Callable[[], bool] = lambda: False
) -> Iterator[tuple[str, str]]:
    """Yield (message, remedy) for each contradiction. given: its attributes are the options, by their long names

    name: returns what users call an option. spread: returns whether the one destination stands for several
    """
    destinations = given.dest_path or []
    if given.directory_only and given.no_directory_sync:
        yield (
            f"{name('directory_only')} copies directories with their metadata, and {name('no_directory_sync')} forbids "
            "that",
            "Give one of them.",
        )
    if given.content_only and given.strict_metadata:
        yield (
            f"{name('content_only')} copies no metadata, so none can be refused",
            f"Leave out {name('content_only')} or {name('strict_metadata')}.",
        )
    if given.directory_only and given.remove:
        yield (
            f"{name('directory_only')} copies no files, so a move has nothing to remove",
            f"Leave out {name('directory_only')} or {name('remove')}.",
        )
    if given.random_dest_selection and len(destinations) < 2 and not spread():
        yield (
            f"{name('random_dest_selection')} spreads files over several destinations",
            f"Give {name('dest_path')} for each of them, or leave out {name('random_dest_selection')}.",
        )
    if given.content_only and given.hash_size == 0 and not given.full_hash:
        yield (
            f"{name('content_only')} with {name('hash_size')} 0 would compare sizes only: what differs would be called "
            "identical",
            f"Leave out {name('hash_size')} 0, and contents are compared; or leave out {name('content_only')}, and "
            "sizes and mtimes are.",
        )
    if given.delete_excluded and not given.remove_extra:
        yield (
            f"{name('delete_excluded')} has a meaning only when mirroring",
            f"Add {name('remove_extra')}, or leave it out.",
        )
    yield from _of_lists(given, name, len(destinations))


def _of_lists(given: Any, name: Callable[[str], str], destinations: int) -> Iterator[tuple[str, str]]:
    null, source_list, file_list = name("null"), name("source_list"), name("file_list")
    if given.null and given.file_list is given.source_list is None and not given.tar_diff_file_list:
        yield (
            f"{null} says what lists look like, and there is none",
            f"Add {file_list}, {source_list} or {name('tar_diff_file_list')}, or leave it out.",
        )
    if given.source_list is None:
        return
    if given.remove_extra:
        yield (
            f"{name('remove_extra')} with {source_list} would remove everything that the list does not name",
            f"Mirror without a list, or copy the list without {name('remove_extra')}.",
        )
    if given.remove:
        yield (
            f"{name('remove')} with {source_list}: what a list names can be copied, not moved",
            f"Leave out {name('remove')}, or move without a list.",
        )
    if destinations > 1:
        yield f"{source_list} with several destinations is not possible", f"Give {name('dest_path')} once."
    if destinations and len(given.src_path) > 1:
        yield (
            "the names in a list are relative to one directory, and there are several",
            f"Give one directory beside {source_list}, or none for the working directory.",
        )
