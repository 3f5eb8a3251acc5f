"""What rank 0 does for each verb."""

from collections.abc import Callable

from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.frontend import Face
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Asked, Verb


def lead_verb(wire: Wire, asked: Asked, face: Face) -> Report:
    """Do what is asked with all ranks of the wire; rank 0 calls it, the others follow. Raises FatalError."""
    options = asked.options
    if asked.verb is Verb.COPY and (options.mirror or options.move) and not options.dry_run:
        face.expect_answer()  # not after hours of copying
    report = _leader(asked)(wire, asked, face)
    report.verb = asked.verb.value
    return report


def _leader(asked: Asked) -> Callable[[Wire, Asked, Face], Report]:
    verb = asked.verb
    if verb is Verb.REMOVE:
        from hpcp_mpi.operations.remove.rank0 import lead_remove

        return lead_remove
    if verb is Verb.LIST:
        from hpcp_mpi.operations.list_files.rank0 import lead_list

        return lead_list
    if verb is Verb.COMPARE:
        from hpcp_mpi.operations.compare.rank0 import lead_compare

        return lead_compare
    if asked.source_list is not None:
        from hpcp_mpi.operations.copy.from_list.rank0 import lead_copy_listed

        return lead_copy_listed
    if len(asked.destinations) > 1 or asked.options.sequential:
        from hpcp_mpi.operations.copy.destinations.rank0 import lead_several

        return lead_several
    from hpcp_mpi.operations.copy.symlink_targets.rank0 import lead_copy

    return lead_copy
