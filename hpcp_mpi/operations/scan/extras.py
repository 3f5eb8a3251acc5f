"""What a mirror finds at the destination beside a directory of the source, and has to go."""

import stat
from collections.abc import Callable

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.entries import first_in, lstat
from hpcp_mpi.host.listing import Slice
from hpcp_mpi.host.stage import stages_among
from hpcp_mpi.operations.scan.records import Folder
from hpcp_mpi.rules.equality import is_whiteout
from hpcp_mpi.vocab.paths import child_path, join


class Extras:
    """Tells which entries of the destination nothing of the source claims. Thread-safe."""

    def __init__(self, context: JobContext, excluded: Callable[[bytes, bool], bool] | None, overlay: bool) -> None:
        """excluded, overlay: as for a Classifier"""
        self._context = context
        self._excluded = excluded
        self._overlay = overlay

    def unclaimed(self, folder: Folder, extras: list[tuple[bytes, bool]], dest: int) -> list[tuple[bytes, bool]]:
        """Return those that nothing claims: not our stages, not excluded, not in another source that lands here too."""
        stages = stages_among(dest, (name for name, is_directory in extras if is_directory))
        context = self._context
        path = child_path(context.job.sources[folder.source].path, folder.source_dir)
        excluded = None if context.options.delete_excluded else self._excluded
        merged = folder.dest_dir in context.job.merged
        return [
            (name, is_directory)
            for name, is_directory in extras
            if not context.own(name)
            and name not in stages
            and not (excluded is not None and excluded(child_path(path, name), is_directory))
            and not (merged and self._elsewhere(folder, name))
            and not (context.options.left_out and self._is_left_out(name, dest))
        ]

    def _is_left_out(self, name: bytes, dest: int) -> bool:
        status = lstat(name, dest)
        return status is not None and (status.st_dev, status.st_ino) in self._context.options.left_out

    def to_make_way(self, folder: Folder, some: Slice, dest: int) -> list[tuple[bytes, bool]]:
        """Return what is at the destination beside entries and has to go: directories where the source has none.

        An empty one is replaced by a copy. And with delete_excluded whatever is excluded.
        """
        context = self._context
        path = child_path(context.job.sources[folder.source].path, folder.source_dir)
        excluded = self._excluded or (lambda path, is_directory: False)
        extras: list[tuple[bytes, bool]] = []
        for name, status, there in some.rest:
            if there is None or stat.S_ISSOCK(status.st_mode):
                continue
            if self._overlay and is_whiteout(status):
                continue
            is_directory = stat.S_ISDIR(there.st_mode)
            entry = child_path(path, name)
            if excluded(entry, False) or (is_directory and excluded(entry, True)):
                goes = context.options.delete_excluded
            else:
                goes = is_directory and not context.options.directory_only and first_in(dest, name) is not None
            if goes:
                extras.append((name, is_directory))
        if context.options.delete_excluded:
            extras += [
                (name, there)
                for name, _, there in some.folders
                if there is not None and excluded(child_path(path, name), True)
            ]
        merged = folder.dest_dir in context.job.merged
        return [extra for extra in extras if not (merged and self._elsewhere(folder, extra[0]))]

    def _elsewhere(self, folder: Folder, name: bytes) -> bool:
        """Return whether another source has what lands as name in a folder that several sources have."""
        context = self._context
        if join(folder.dest_dir, name) in context.job.targets:
            return True
        for index in range(len(context.job.sources)):
            source_dir = context.job.source_dir_of(index, join(folder.dest_dir, name))
            if not source_dir or index == folder.source:
                continue
            directory, _, last = source_dir.rpartition(b"/")
            try:
                with context.source_tree(index).at(directory) as fd:
                    if lstat(last, fd) is not None:
                        return True
            except (FileNotFoundError, NotADirectoryError):
                continue
        return False
