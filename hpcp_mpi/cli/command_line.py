"""Parsing of a command line to a request, on rank 0."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from hpcp_mpi.cli.habits import command, otherwise
from hpcp_mpi.cli.option_conflicts import landing_note, refuse, refuse_with_status
from hpcp_mpi.cli.options_how import DEFAULT_INTERVAL, TEMPLATES
from hpcp_mpi.cli.options_imaging import given_names
from hpcp_mpi.cli.parser import Given, read
from hpcp_mpi.cluster.slurm import default_ledger
from hpcp_mpi.rules.excludes import refuse as refuse_patterns
from hpcp_mpi.vocab.errors import FatalError, UsageError
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.request import Request, Verb


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A parsed command line: the request, and how to show, record and stop the run."""

    request: Request
    show: str = ""  # to print instead of running: -h, --help, version, man, module, template NAME, or a shell
    progress: str = "auto"  # or bar, lines, json, none
    progress_interval: float = DEFAULT_INTERVAL
    quiet: bool = False
    log_file: bytes | None = None
    json: str | None = None
    status: bytes | None = None  # a ledger to show instead of running
    ledger: bytes | None = None  # as given, or with resume the default of the Slurm job
    resume: bool = False
    stop_before: float | None = None  # minutes before the batch job's end
    failed: bytes | None = None  # the file for the names of what failed; None: where there is room for it
    notes: tuple[str, ...] = ()  # what the user is told of the command line

    @property
    def files(self) -> list[bytes]:
        """The files that a run writes beside what it is asked for."""
        written = (self.report_file, self.ledger, self.failed, self.log_file)
        return [each for each in written if each is not None]

    @property
    def report_file(self) -> bytes | None:
        """The file for the report; None if there is none, or it goes to standard output."""
        return os.fsencode(self.json) if self.json is not None and self.json != "-" else None


def parse(
    arguments: Sequence[str],
    exclude_lines: Callable[[bytes], list[bytes]],
    environment: Mapping[str, str] | None = None,
) -> CommandLine:
    """Return the parsed arguments. Raises UsageError, FatalError.

    exclude_lines: returns the patterns in an exclude file's content. environment: of a Slurm job, for its ledger's name
    """
    given = read(list(arguments))
    if show := given.help or _shown(given):
        return CommandLine(Request(Verb.COPY, ()), show)
    json = given.json or None
    if given.status is not None:
        refuse_with_status(given)
        return CommandLine(Request(Verb.COPY, ()), json=json, status=os.fsencode(given.status))
    _refuse_command(given.src_path)
    verb = _verb(given)
    refuse(verb, given)
    request = _asked(verb, given, _options(verb, given, exclude_lines))
    return CommandLine(
        request,
        progress=given.progress,
        progress_interval=given.progress_interval,
        quiet=given.quiet,
        log_file=None if given.log_file is None else os.fsencode(given.log_file),
        json=json,
        ledger=_ledger(given, environment or {}),
        resume=given.resume,
        stop_before=given.stop_before,
        failed=None if given.failed is None else os.fsencode(given.failed),
        notes=(*given.notes, *landing_note(request, given.habits)),
    )


def _refuse_command(paths: list[str]) -> None:
    """Raise UsageError if the first path is a command elsewhere, and nothing has that name."""
    if paths and (here := command(paths[0])) and not os.path.lexists(paths[0]):
        raise UsageError(f"{paths[0]} is no file, and there are no commands: write {here}", "See hpcp-mpi -h.")


def _shown(given: Given) -> str:
    """Return what to print instead of running; "" to run. Raises UsageError."""
    if given.print_template:
        if given.src_path:
            name = printable(os.fsencode(given.src_path[0]))
            raise UsageError(f"there is no job template {name}", f"There are {', '.join(TEMPLATES)}.")
        return f"template {given.print_template}"
    flags = (("version", given.version), ("man", given.print_man), ("module", given.print_module))
    return next((show for show, wanted in flags if wanted), given.print_completion or "")


def _ledger(given: Given, environment: Mapping[str, str]) -> bytes | None:
    if given.ledger is not None:
        return os.fsencode(given.ledger)
    ledger = default_ledger(environment) if given.resume else None
    if given.resume and ledger is None:
        raise UsageError("--resume needs the ledger of the run to resume, outside of a Slurm job", "Add --ledger FILE.")
    return ledger


def _verb(given: Given) -> Verb:
    """Return what is asked for. Raises UsageError."""
    if given_names(given):
        from hpcp_mpi.cli.image_conflicts import refuse_images
        from hpcp_mpi.cli.image_request import image_verb

        verb = image_verb(given)
        refuse_images(verb or _verb_without_images(given), given)
        if verb is not None:
            return verb
    return _verb_without_images(given)


def _verb_without_images(given: Given) -> Verb:
    if given.compare_file_list or given.diff_file_list is not None or given.tar_diff_file_list:
        return Verb.COMPARE
    if given.file_list is not None:
        return Verb.LIST
    if given.dest_path or given.remove_extra:
        return Verb.COPY
    if given.remove:
        return Verb.REMOVE
    if given.remove_force and given.habits and len(given.src_path) == 1:
        raise UsageError(
            f"-rf beside {given.habits[0]}: to remove {given.src_path[0]}, or to copy it?",
            "To remove it, write -rm. To copy it, name the destination.",
        )
    if given.remove_force and len(given.src_path) == 1:
        return Verb.REMOVE
    if given.remove_force and given.src_path:
        raise UsageError(
            "-rf with several paths: is the last one a destination?",
            "To remove all of them, add -rm. To copy, name the destination with -d.",
        )
    return Verb.COPY


def _options(verb: Verb, given: Given, exclude_lines: Callable[[bytes], list[bytes]]) -> Options:
    return Options(
        hash_size=given.hash_size,
        heartbeat_timeout=given.heartbeat_timeout,
        full_hash=given.full_hash,
        modify_window=given.modify_window,
        excludes=_excludes("-e", given.exclude, given.exclude_file, exclude_lines),
        optional_excludes=_excludes("-eo", given.exclude_optional, given.exclude_file_optional, exclude_lines),
        unmatched_excludes=given.remove_force > 1,
        directory_only=given.directory_only,
        directory_sync=not given.no_directory_sync,
        sparse=given.sparse,
        reflink=given.reflink,
        slots=given.max_workers,
        single=given.single_thread,
        chunk_size=max(1, given.chunk_size),
        chunk_files=int(given.files_per_job),
        chunk_seconds=given.chunk_seconds,
        parallel_listing=given.parallel_file_listing,
        split_size=given.split_size,
        io_size=given.io_size,
        drop_cache=given.drop_cache,
        content_only=given.content_only,
        strict_metadata=given.strict_metadata,
        links=_links(given),
        mirror=given.remove_extra,
        delete_excluded=given.delete_excluded,
        max_delete=given.max_delete,
        backup_dir=os.fsencode(given.backup_dir),
        move=verb is Verb.COPY and given.remove,
        accept_loss=given.accept_loss,
        verify=given.verify,
        rate_bytes=given.rate_limit,
        rate_files=given.file_rate_limit,
        command_timeout=given.command_timeout_limit,
        make_destination=not given.no_create_dir,
        file_system=given.target_file_system,
        require_space=given.exit_not_enough_space,
        sequential=given.no_batch,
        dry_run=given.dry_run or verb is Verb.COMPARE,
        itemize=given.dry_run or given.verbose or verb is Verb.COMPARE,
    )


def _links(given: Given) -> str:
    """Return which links' targets are copied, too: of images none, as a link in one may lead to what is beside it."""
    if given.link_tracking:
        return "anywhere"
    return "never" if given.no_link_tracking or given_names(given) else "inside"


def _asked(verb: Verb, given: Given, options: Options) -> Request:
    if not all((*given.src_path, *(given.dest_path or ()))):
        raise UsageError("the destination given with -d is empty" if all(given.src_path) else "an argument is empty")
    request = _request(verb, given, options)
    if given_names(given):
        from hpcp_mpi.cli.image_request import with_images

        return with_images(request, given)
    sources, destinations = _places(verb, given, [os.fsencode(path) for path in given.src_path])
    return replace(request, sources=tuple(sources), destinations=tuple(destinations))


def _request(verb: Verb, given: Given, options: Options) -> Request:
    """Return the request without sources and destinations."""
    return Request(
        verb=verb,
        sources=(),
        options=options,
        source_list=None if given.source_list is None else os.fsencode(given.source_list),
        file_list=None if given.file_list is None else os.fsencode(given.file_list),
        hashes=not given.no_hash_file_list,
        nul=given.null,
        changes_file=_changes_file(given),
        tar_list=given.tar_diff_file_list,
        random_destinations=given.random_dest_selection,
        force=given.remove_force > 0,
        patterns=bool(given.dest_path),
    )


def _changes_file(given: Given) -> bytes | None:
    if given.diff_file_list is not None:
        return os.fsencode(given.diff_file_list)
    return b"" if given.tar_diff_file_list else None


def _places(verb: Verb, given: Given, paths: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Return sources and destinations."""
    destinations = [os.fsencode(path) for path in given.dest_path or ()]
    with_list = given.source_list is not None
    if verb in (Verb.REMOVE, Verb.LIST) or (verb is Verb.COMPARE and given.file_list is not None):
        if destinations:
            raise UsageError(
                "with -fl there is no destination: a list is written or compared, nothing is copied",
                "Compare with a directory: -cfl SRC -d DST; with a list: -cfl SRC -fl LIST; copy, then list: two runs.",
            )
        if not paths and not with_list:
            raise UsageError("no path was given", "hpcp-mpi -rm PATH..., hpcp-mpi -fl LIST SRC...; see hpcp-mpi -h")
        return paths, []
    if destinations:
        if not paths and not with_list:
            raise UsageError("no source was given", "hpcp-mpi SRC... -d DST")
        return paths, destinations
    if with_list:
        raise UsageError("with -sfl the destination is named with -d", "hpcp-mpi -sfl LIST [BASE] -d DST")
    if len(paths) < 2:
        missing = "a source and a destination" if not paths else "a destination"
        swallowed = f"; -dfl took {given.diff_file_list} for its FILE: put -dfl last" if given.diff_file_list else ""
        raise UsageError(
            f"{missing} must be given{swallowed}", "hpcp-mpi SRC... DST, or hpcp-mpi SRC... -d DST; see hpcp-mpi -h"
        )
    return paths[:-1], paths[-1:]


def _excludes(
    option: str, given: list[str], files: list[str], exclude_lines: Callable[[bytes], list[bytes]]
) -> tuple[bytes, ...]:
    """Return the patterns of an option and of files. Raises UsageError for one that can match nothing, FatalError."""
    patterns = {os.fsencode(pattern): option for pattern in given}
    for name in files:
        try:
            with open(name, "rb") as file:
                lines = exclude_lines(file.read())
        except OSError as error:
            why = otherwise("-x") if isinstance(error, IsADirectoryError) else ""
            raise FatalError(f"cannot read the exclude file {name}: {error.strerror}", why) from None
        except ValueError as error:
            raise FatalError(f"the exclude file {name} cannot be used: {error}") from None
        if rule := next((line for line in lines if line.startswith((b"+ ", b"- "))), b""):
            raise UsageError(
                f"{name} holds a rule of rsync, and only patterns of what to exclude are possible: {printable(rule)}",
                f"Leave out + and -; a name that begins so is written ./{printable(rule)}",
            )
        patterns.update(dict.fromkeys(lines, name))
    refuse_patterns(patterns)
    return tuple(patterns)
