"""Writing a patch (-diff): what makes one tree equal to another, in an image. Neither of the two is changed.

A file that changes meanwhile is in the patch as it was copied.
"""

import os
import time
from contextlib import closing

from hpcp_mpi.cluster.signals import StoppedEarly
from hpcp_mpi.formats.changes_table import Op
from hpcp_mpi.formats.patch_rows import more, table
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.operations.imaging.patch.contents import Contents
from hpcp_mpi.operations.imaging.patch.images import Side, new_image, output_of, place_in, side_of
from hpcp_mpi.operations.imaging.rules.patch_need import need_of
from hpcp_mpi.operations.imaging.run import Imaging
from hpcp_mpi.operations.imaging.shown import rename_report
from hpcp_mpi.vocab.errors import FatalError, UsageError
from hpcp_mpi.vocab.options import MIB
from hpcp_mpi.vocab.paths import is_within, printable
from hpcp_mpi.vocab.report import Report

_LEAST_TAIL = 16 * MIB  # bytes of each file's end that are hashed at least: hpcp's own default
_SHOWN = 3  # names in a message
_MOST_NAME = 255  # bytes


def write_patch(run: Imaging) -> Report:
    """Write a patch. Raises FatalError; a signal is said in the report, and there is no patch then."""
    if run.images.disk:
        raise FatalError(
            "this version makes no patches of whole disks (-dd -diff)",
            "Make one of each partition: hpcp-mpi -si NEW -di BASE --partition P -diff PATCH; the same with -siff.",
        )
    try:
        return _written(run)
    except FatalError as error:
        raise run.shown.renamed(error) from None
    except Stopped:
        return Report(stopped=run.frontend.stop.code)
    except StoppedEarly as early:
        return Report(stopped=early.code)


def _written(run: Imaging) -> Report:
    images, request = run.images, run.request
    if len(images.images) + len(request.sources) != 1:
        raise UsageError("a patch leads to one tree, and several are named", "Name one directory, or one image (-si).")
    new = side_of(run, b"".join(images.images), b"".join(request.sources))
    base = side_of(run, images.image, b"".join(request.destinations))
    if base.image and not new.image:
        base = place_in(run, base, new)
    output, replaced = output_of(images.patch or _automatic(new, base), images.yes)
    with closing(output):
        for side in (new, base):
            if not side.image and is_within(output.path, os.path.realpath(side.path)):
                raise UsageError(
                    f"the patch {printable(output.given)} would lie in {printable(side.name)}, which is compared",
                    "Name a file somewhere else.",
                )
        found = Contents(run, new, base)
        found.compare()
        report = found.report
        report.sources, report.destination = [new.name], base.name
        items = run.frontend.items
        if items is not None:
            for op in Op:
                items.add(found.differences.of(op))
        found.look()
        if run.options.dry_run:
            run.frontend.say(f"{found.counts()}; nothing was written (-n)")
            return rename_report(report, run.shown)
        paths = found.payload()
        entries = ((path, found.new[path].state, found.new[path].stored) for path in paths)
        need = need_of(entries, sum(map(len, table(found.rows()))) + sum(map(len, more(found.told()))))
        with new_image(run, output, replaced, need, report) as place:
            found.fill(place, paths)
        report.dry_run = False
        run.frontend.say(f"{found.counts()}; the patch: {printable(output.path)}")
        return rename_report(report, run.shown)


def _automatic(new: Side, base: Side) -> bytes:
    """Return hpcp's name for a patch, in the working directory."""
    names = [os.path.basename(os.path.abspath(side.name)) or b"root" for side in (new, base)]
    end = b"_%d.img" % time.time()
    most = (_MOST_NAME - len(end) - len(b"DIFF__TO_")) // 2
    return b"DIFF_" + b"_TO_".join(name[:most] for name in names) + end
