"""Which entries did a failed `cp` not copy? The stage is looked at; only the reason is taken from cp's words.

Whatever is missing or incomplete becomes a Failure and leaves the stage, so that no partial file is renamed into place;
everything else is good and lands.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.cp import complaints, doubts_content, ending
from hpcp_mpi.host.dirfd import Tree, path_of
from hpcp_mpi.host.entries import lstat, names_in
from hpcp_mpi.host.metadata import Refusals
from hpcp_mpi.host.remove_tree import remove_tree
from hpcp_mpi.rules.equality import metadata_changes
from hpcp_mpi.vocab.errors import VANISHED, Failure, reason_of
from hpcp_mpi.vocab.paths import join
from hpcp_mpi.vocab.tally import NOTHING, Tally, one_file, tally_of
from hpcp_mpi.vocab.units import Batch


@dataclass(slots=True)
class CpDamage:
    """What of a call of cp is not good."""

    failures: list[Failure] = field(default_factory=list)
    lost: dict[bytes, Tally] = field(default_factory=dict)  # by unit; none where the unit is whole
    lacking: list[tuple[bytes, str]] = field(default_factory=list)  # (absolute path, cp's words): only the ACL is lost
    refused: list[tuple[bytes, Refusals]] = field(default_factory=list)  # (absolute path, attributes)
    said: bytes = b""  # what cp said that is not sorted out yet
    unknown: set[bytes] = field(default_factory=set)  # units in which something may be half made: they may not land

    def add(self, other: "CpDamage") -> None:
        """Add the damage to other units."""
        self.failures += other.failures
        self.lost.update(other.lost)
        self.unknown |= other.unknown
        self.lacking += other.lacking
        self.refused += other.refused
        self.said += other.said

    def not_all(self, context: JobContext, path: bytes, words: str) -> None:
        """Record that a copy is there, but not all of its metadata. path: absolute. words: cp's"""
        from hpcp_mpi.engine.losses import is_lost  # rarely needed

        if is_lost(context, words):
            self.lacking.append((path, words))
        else:
            self.failures.append(Failure(path, words))


def _remove(stage: int, name: bytes) -> None:
    """Remove an entry of a directory in the stage, which keeps the times that cp gave it."""
    before = os.fstat(stage)
    remove_tree(stage, name)
    os.utime(stage, ns=(before.st_atime_ns, before.st_mtime_ns))


class CpFailures:
    """Takes stock after one call of cp that ended with a code other than 0."""

    def __init__(self, context: JobContext, batch: Batch, stage: int, code: int, stderr: bytes) -> None:
        """code, stderr: how cp ended, and what it said."""
        self._context = context
        self._batch = batch
        self._source = context.source(batch)
        self._stage = Tree(path_of(stage))
        self._words, self._others = complaints(stderr)
        self._code = code
        self.damage = CpDamage()

    def take(self, units: Sequence[bytes]) -> CpDamage:
        """Return the damage to units, the arguments of that call. units: their names"""
        try:
            for unit in units:
                try:
                    self._unit(unit)
                except OSError as error:
                    self._give_up(unit, error)
            self._leftovers(units)
        finally:
            self._stage.close()
        return self.damage

    def _give_up(self, unit: bytes, error: OSError) -> None:
        """Record a unit that cannot be looked at in the stage, or not be rid there of what is half made."""
        self.damage.unknown.add(unit)
        reason = f"what was copied of it cannot be looked at: {reason_of(error)}"
        self.damage.failures.append(Failure(self._path(unit), reason))

    def _unit(self, name: bytes) -> None:
        waiting = [name] if self._entry(b"", name) else []
        while waiting:
            directory = waiting.pop()
            try:
                with self._source.at(join(self._batch.source_dir, directory)) as source:
                    names = names_in(source)
            except OSError as error:
                self._fail(directory, f"cannot list: {reason_of(error)}", NOTHING)
                continue
            waiting += [join(directory, child) for child in names if self._entry(directory, child)]

    def _entry(self, directory: bytes, name: bytes) -> bool:
        """Look at one entry; return whether it is a directory to go into."""
        path = join(directory, name)
        words = self._words.pop(path, None)
        with self._stage.at(directory) as stage:
            got = lstat(name, stage)
            try:
                with self._source.at(join(self._batch.source_dir, directory)) as source:
                    wanted = lstat(name, source)
            except OSError:
                wanted = None
            if wanted is None:
                if got is None or words:
                    _remove(stage, name)
                    self._fail(path, VANISHED, one_file(0) if got is None else tally_of(got), vanished=True)
                return False
            if got is not None and self._complete(wanted, got, words):
                if not words and self._code < 0 and self._undressed(wanted, got):
                    words = self._common_words()
                if words:  # it is there, but not all of its metadata
                    self.damage.not_all(self._context, self._path(path), words)
                return stat.S_ISDIR(wanted.st_mode)
            if got is not None:
                _remove(stage, name)
        self._fail(path, words or self._common_words(), self._below(path, wanted))
        return False

    def _complete(self, wanted: os.stat_result, got: os.stat_result, words: str | None) -> bool:
        """Return whether cp finished an entry. It sets a file's mtime when the content is complete."""
        if stat.S_IFMT(wanted.st_mode) != stat.S_IFMT(got.st_mode):
            return False
        if words and self._context.options.content_only:
            return False  # there is nothing but the content that they could be about
        if not stat.S_ISREG(wanted.st_mode):
            return True
        if words and doubts_content(words):
            return False  # network file systems report a write that failed when the file is closed
        times = self._context.job.times
        if times.goes_astray(wanted.st_mtime_ns):  # whatever cp made of it; a cp that was not killed ends each file
            return wanted.st_size == got.st_size and not words and self._code >= 0
        # A size of 0 says nothing of /proc and the like: there cp reads to the end.
        ended = wanted.st_size == 0 and not words and not self._others and self._code >= 0
        return (ended or wanted.st_size == got.st_size) and times.same(wanted.st_mtime_ns, got.st_mtime_ns)

    def _undressed(self, wanted: os.stat_result, got: os.stat_result) -> bool:
        """Return whether a cp that was killed did not come to all of an entry's metadata: it writes that last."""
        if self._context.options.content_only:
            return False
        return bool(metadata_changes(wanted, got, self._context.job.times, self._context.rights))

    def _below(self, path: bytes, status: os.stat_result) -> Tally:
        """Return the tally of an entry and all below it, as far as it can be read."""
        total, waiting = tally_of(status), [path] if stat.S_ISDIR(status.st_mode) else []
        while waiting:
            directory = waiting.pop()
            try:
                with self._source.at(join(self._batch.source_dir, directory)) as source:
                    for name in names_in(source):
                        child = lstat(name, source)
                        if child is None:
                            continue
                        total = total.plus(tally_of(child))
                        if stat.S_ISDIR(child.st_mode):
                            waiting.append(join(directory, name))
            except OSError:
                continue  # it is counted; what it holds is not known
        return total

    def _fail(self, path: bytes, reason: str, lost: Tally, vanished: bool = False) -> None:
        self.damage.failures.append(Failure(self._path(path), reason, vanished, lost))
        unit = path.partition(b"/")[0]
        self.damage.lost[unit] = self.damage.lost.get(unit, NOTHING).plus(lost)

    def _common_words(self) -> str:
        return ending(self._code, self._others)

    def _leftovers(self, units: Sequence[bytes]) -> None:
        """Report words that belong to no entry: nothing that cp says is swallowed."""
        ours = set(units)
        for path in [path for path in self._words if path.partition(b"/")[0] in ours]:
            directory, _, name = path.rpartition(b"/")
            words = self._words[path]
            try:
                self._entry(directory, name)
            except (FileNotFoundError, NotADirectoryError):  # no longer listed: mostly it vanished meanwhile
                self._words[path] = words
            except OSError as error:
                self._words[path] = words
                self._give_up(path.partition(b"/")[0], error)
        for path, words in self._words.items():
            self.damage.failures.append(Failure(self._path(path), words))
        if not (self.damage.failures or self.damage.lacking):
            self.damage.failures += [Failure(self._path(unit), self._common_words()) for unit in units[:1]]

    def _path(self, path: bytes) -> bytes:
        return self._context.source_path(self._batch, path)
