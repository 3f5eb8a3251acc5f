"""What some options mean for others: rank 0 makes them agree before anything starts. Pure."""

from dataclasses import replace

from hpcp_mpi.vocab.options import MIB, Options

SMOOTH = 0.25  # seconds; with a limited rate, what is granted at once is what may be copied in this time
SMALLEST_RANGE = 4 * MIB  # bytes; see operations.copy.big_files.rules.ALIGNMENT


def tuned(options: Options) -> Options:
    """Return options as they take effect. Twice is as good as once."""
    if options.content_only:
        options = _content_only(options)
    if options.move:
        # What looks equal is no reason to remove its source: an old copy may have the size, the mtime and the end.
        options = replace(options, full_hash=True)
    if not options.dry_run:
        options = _smooth(options)
    return options


def _content_only(options: Options) -> Options:
    """Without mtimes only the whole content can show what is identical: a size says nothing."""
    return replace(options, directory_sync=False, full_hash=True)


def _smooth(options: Options) -> Options:
    """Make what is copied in one go so small that a limited rate is kept about every quarter of a second."""
    if options.rate_bytes:
        share = max(1, int(options.rate_bytes * SMOOTH))
        split = options.split_size and max(SMALLEST_RANGE, min(options.split_size, share))
        options = replace(options, chunk_size=min(options.chunk_size, share), split_size=split)
    if options.rate_files:
        share = max(1, int(options.rate_files * SMOOTH))
        options = replace(options, chunk_files=min(options.chunk_files, share))
    return options
