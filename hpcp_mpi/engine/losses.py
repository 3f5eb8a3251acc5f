"""What the destination refuses of an entry's metadata: noted once for each kind, or a failure (--strict-metadata).

One rule for all that looks at a copy: what was refused is no difference, unless --strict-metadata is given. `cp -a`
itself loses attributes without a word.
"""

import errno
import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host import metadata
from hpcp_mpi.host.cp import attributes_refused, permissions_refused
from hpcp_mpi.host.dirfd import Tree, path_of
from hpcp_mpi.host.entries import types_in
from hpcp_mpi.vocab.attributes import ACCESS_ACL, ACL, REFUSALS, kind_of
from hpcp_mpi.vocab.errors import Failure, failure_of
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import join
from hpcp_mpi.vocab.units import DEST, Batch

_S_IFDIR = 0o040000
_NUMBERS = {os.strerror(number): number for number in errno.errorcode}


def note_refused(context: JobContext, path: bytes, refused: Mapping[bytes, int], outcome: Outcome) -> None:
    """Note what attributes the copy of an entry, an absolute path in a source, has to be without."""
    for name, number in sorted(refused.items()):
        what = "ACL" if name.startswith(ACL) else f"attribute {name.decode('utf-8', 'backslashreplace')}"
        reason = f"the destination does not store its {what}: {os.strerror(number)}"
        if context.options.strict_metadata:
            outcome.failures.append(Failure(path, reason))
            return  # one for each entry
        outcome.lose(f"{kind_of(name)} {number}", path, reason)


def is_lost(context: JobContext, words: str) -> bool:
    """Return whether what cp says of an entry is only that the destination refuses its ACL."""
    text = permissions_refused(words)
    number = _NUMBERS.get(text or "")
    if number is None or context.options.strict_metadata:
        return False
    with suppress(OSError), context.dest.at(b"") as dest:
        return metadata.is_refusal(OSError(number, text), dest)
    return False


def note_lost_acl(context: JobContext, path: bytes, words: str, outcome: Outcome) -> None:
    """Note that an entry's copy is without its ACL. words: cp's, of which is_lost is true"""
    note_refused(context, path, {ACCESS_ACL: _NUMBERS[permissions_refused(words) or ""]}, outcome)


def note_lost(
    context: JobContext, batch: Batch, placed: Mapping[bytes, tuple[int, bytes]], stderr: bytes, outcome: Outcome
) -> None:
    """Note which entries lost attributes on their way into a stage, subtrees whole.

    cp names the attribute and not the file, so only if it says so, or if each loss is to be named, entries are looked
    at. placed: where copies are (stage, name in it), by the name of their unit. stderr: what cp said
    """
    said = attributes_refused(stderr)
    if not (said or context.options.strict_metadata) or context.options.content_only:
        return
    for name, (stage, staged_as) in placed.items():
        try:
            with context.source(batch).at(batch.source_dir) as source:
                there = _look(context, batch, (source, name, stage, staged_as), name, said, outcome)
        except OSError:
            continue  # its directory is gone; that is named already
        if there:
            _look_below(context, batch, stage, (name, staged_as), said, outcome)


def _look_below(
    context: JobContext,
    batch: Batch,
    stage: int,
    top: tuple[bytes, bytes],
    said: Mapping[bytes, str],
    outcome: Outcome,
) -> None:
    """Look at all below a directory. top: its path below the batch's, and that of its copy in the stage."""
    staged = Tree(path_of(stage))
    try:
        waiting = [top]
        while waiting:
            path, staged_as = waiting.pop()
            with ExitStack() as stack:
                try:
                    source = stack.enter_context(context.source(batch).at(join(batch.source_dir, path)))
                    copied = stack.enter_context(staged.at(staged_as))
                    entries = list(types_in(copied))
                except OSError:
                    continue  # no directory, not there, or not to be listed: that is named already
                for name, mode in entries:
                    below = join(path, name)
                    if _look(context, batch, (source, name, copied, name), below, said, outcome) and mode == _S_IFDIR:
                        waiting.append((below, join(staged_as, name)))
    finally:
        staged.close()


def _look(
    context: JobContext,
    batch: Batch,
    pair: tuple[int, bytes, int, bytes],
    path: bytes,
    said: Mapping[bytes, str],
    outcome: Outcome,
) -> bool:
    """Compare the attributes of an entry and its copy; return whether there is a copy. path: below the batch's"""
    where = context.source_path(batch, path)
    try:
        wanted = context.wanted_xattrs((pair[0], pair[1]), batch.source)
    except FileNotFoundError:
        return True
    except OSError as error:
        outcome.failures.append(failure_of(where, error, "its attributes cannot be read"))
        return True
    if not wanted:
        return True
    try:
        found = metadata.xattrs_of(pair[2], pair[3], context.hides_acls(DEST))
    except OSError:
        return False  # no copy; that is named already
    refused = {}
    for name, value in wanted.items():
        if found.get(name) != value and (context.options.strict_metadata or not name.startswith(ACL)):
            text = said.get(name, os.strerror(errno.EOPNOTSUPP))
            number = _NUMBERS.get(text, 0)
            if number in REFUSALS and metadata.is_refusal(OSError(number, text), pair[2]):
                refused[name] = number
            else:
                outcome.failures.append(Failure(where, f"its attribute {name.decode()} was not copied: {text}"))
    note_refused(context, where, refused, outcome)
    return True
