"""The application of patches to one directory: a look at all of it, then what has to be done."""

from collections.abc import Sequence

from hpcp_mpi.engine.itemize import GONE
from hpcp_mpi.formats.entry_state import State
from hpcp_mpi.host.block.mounts import store
from hpcp_mpi.host.dirfd import path_of
from hpcp_mpi.operations.imaging.patch import mark as patch_mark
from hpcp_mpi.operations.imaging.patch.changes import Changes, tally_of
from hpcp_mpi.operations.imaging.patch.entry_looks import Looks
from hpcp_mpi.operations.imaging.patch.files import Origins, Volume, origins_of, patches_of
from hpcp_mpi.operations.imaging.patch.plan import Plan, plan_of, wrong_after
from hpcp_mpi.operations.imaging.rules.patch import letters, must_go
from hpcp_mpi.operations.imaging.rules.patch_need import need_of
from hpcp_mpi.operations.imaging.run import Imaging, team_of
from hpcp_mpi.operations.imaging.shown import rename_report
from hpcp_mpi.vocab.errors import Failure, FatalError, reason_of
from hpcp_mpi.vocab.image_options import Need
from hpcp_mpi.vocab.outcome import first_of_each
from hpcp_mpi.vocab.paths import child_path, printable
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.tally import NOTHING, left_of

_MOST = 1000  # conflicts that are named


class Application:
    """One application of patches to a target. In this order: look, do. root: a descriptor of the target"""

    def __init__(self, run: Imaging, volumes: Sequence[Volume], target: bytes, root: int, agreed: bool = False) -> None:
        """agreed: conflicts were asked about already. Raises FatalError: the patches are no good."""
        self._run = run
        self._patches = patches_of(volumes)
        self._ids = [patch.manifest.patch_id for patch in self._patches]
        self._target = target
        self._root = root
        self._force = agreed or run.images.force_apply
        self._looks = Looks(target, root, lambda: run.stopping)
        self._window = int(run.options.modify_window * 10**9)
        self._plan: Plan | None = None
        self._origins: Origins = {}
        self._report = Report(
            sources=[volume.name for patch in self._patches for volume in patch.volumes],
            destination=target,
            dry_run=run.options.dry_run,
        )

    @property
    def plan(self) -> Plan:
        assert self._plan is not None
        return self._plan

    def look(self) -> None:
        """Look at every row; ask about conflicts. Raises FatalError: the patches are not applied; Stopped."""
        run = self._run
        for patch in self._patches:
            if not patch.manifest.hashes:
                note = f"its hashes ({patch.manifest.hash_algo}) are not compared: xxh64 is known here"
                self._report.outcome.warn(patch.volumes[0].name, note)
        begun = patch_mark.begun(self._root, self._target, self._ids, self._force)
        self._plan = plan_of(self._patches, self._target, self._root, self._looks, begun, self._window)
        self._origins = origins_of(self._patches, self._plan.chains, lambda: run.stopping)
        self._resolve(self._plan)

    def need(self) -> Need | None:
        """Return what will be written; None: nothing has to be done."""
        plan = self.plan
        if plan.nothing:
            return None
        written = [path for path in (*plan.copies(), *plan.directories()) if path]
        return need_of(((path, plan.end(path), plan.end(path).size or 0) for path in written), 0)

    def do(self) -> Report:
        """Change the target, and return the report; nothing is changed by a dry run. Raises FatalError, Stopped."""
        run, report, plan = self._run, self._report, self.plan
        self._itemize(plan)
        if not run.options.dry_run and not plan.nothing:
            self._change(Changes(plan, self._origins, self._target, self._root, lambda: run.stopping, report.outcome))
        if not run.options.dry_run and not report.failures and not report.stopped:
            self._end(plan)
        self._count(plan)
        if not report.ended_early:
            run.frontend.say(_summary(plan, run.options.dry_run))
        return rename_report(report, run.shown)

    def _resolve(self, plan: Plan) -> None:
        """Raise FatalError if there are conflicts, unless it is asked to apply the patch nevertheless."""
        shown = printable(self._run.shown.path(self._target))
        for path in plan.apply:
            barrier = plan.seen[path].barrier
            if barrier is not None and barrier.path not in plan.chains and barrier.kind != b"-":
                raise FatalError(
                    f"{printable(barrier.path)} in {shown} is no directory, and the patch has rows of what is in it",
                    f"Nothing was changed. Move it away: -fa does not replace it ({printable(path)}).",
                )
        conflicts = plan.conflicts
        if not conflicts:
            return
        warn = self._run.frontend.warn
        for path, reason in list(conflicts.items())[:_MOST]:
            warn(f"conflict: {printable(path or b'.')}: {reason}")
        if len(conflicts) > _MOST:
            warn(f"and {len(conflicts) - _MOST:,} more conflicts")
        count = f"{len(conflicts):,} of {len(plan.chains):,} entries in {shown}"
        if self._force:
            return
        question = f"{count} are not as the patch expects them. Apply it nevertheless?"
        if self._run.options.dry_run or not self._run.frontend.confirm_doubt(question):
            raise FatalError(
                f"{count} are neither as the patch expects them nor as it leaves them",
                "Nothing was changed. -fa applies the patch nevertheless, and replaces or removes them.",
            )

    def _itemize(self, plan: Plan) -> None:
        """Tell what is, or would be, changed."""
        items = self._run.frontend.items
        if items is None or not (self._run.options.itemize or self._run.options.dry_run):
            return
        items.add((GONE, _shown(path, plan.found(path)), b"") for path in plan.removals())
        for path in sorted(plan.apply):
            end, found = plan.end(path), plan.found(path)
            if end.there:
                before = None if must_go(end, found) or not found.there else found
                items.add([(letters(end, before), _shown(path, end), end.target or b"")])

    def _change(self, changes: Changes) -> None:
        """Change the target. Raises FatalError, Stopped."""
        run, report = self._run, self._report
        patch_mark.set_mark(self._root, self._target, self._ids)
        changes.remove()
        changes.make_directories()
        with team_of(run) as wire:
            for each in changes.copy(wire, run.options, run.frontend):
                report.add(each)
        if report.ended_early:
            return
        changes.settle()
        for path, reason in wrong_after(changes.plan, self._looks, self._window).items():
            report.outcome.failures.append(Failure(child_path(self._target, path), reason))
        report.outcome.failures = list(first_of_each(report.outcome.failures))

    def _count(self, plan: Plan) -> None:
        """Count what the patches are about; what is neither copied nor changed was done before."""
        report, outcome = self._report, self._report.outcome
        found = NOTHING
        for chain in plan.chains.values():
            found = found.plus(tally_of(chain.end))
        report.scanned = found
        if report.dry_run:
            for path in plan.apply:
                outcome.copied = outcome.copied.plus(tally_of(plan.end(path)))
            for path in plan.removals():
                outcome.removed = outcome.removed.plus(tally_of(plan.found(path)))
        if not report.failures and not report.ended_early:
            outcome.skipped = left_of(found, outcome.copied, outcome.updated)

    def _end(self, plan: Plan) -> None:
        """Remove the mark: all is done. The root has the time that a patch gives it, or the one that it had."""
        mtime = plan.end(b"").mtime if b"" in plan.chains else None
        inside = (chain for path, chain in plan.chains.items() if b"/" not in path)
        as_before = all(state.is_directory for chain in inside for state in chain.states)
        try:
            if plan.apply:
                store(path_of(self._root))  # else a crash could take what was applied, and leave no mark
        except FatalError as error:
            self._report.outcome.failures.append(Failure(self._target, f"what was applied is not stored: {error}"))
            return
        try:
            patch_mark.remove_mark(self._root, mtime, as_before)
        except OSError as error:
            self._report.outcome.warn(
                child_path(self._target, patch_mark.NAME), f"cannot be removed: {reason_of(error)}"
            )


def _shown(path: bytes, state: State) -> bytes:
    return (path or b".") + b"/" if state.is_directory else path


def _summary(plan: Plan, dry: bool) -> str:
    """Return the line that says what was done; hpcp's, as far as it goes."""
    gone = sum(1 for path in plan.apply if not plan.end(path).there)
    added = sum(1 for path in plan.apply if plan.end(path).there and not plan.found(path).there)
    modified = len(plan.apply) - gone - added
    done = len(plan.chains) - len(plan.apply)
    forced = len(plan.conflicts)
    words = f"deleted {gone}, added {added}, modified {modified}, done before {done}, in spite of conflicts {forced}"
    return f"patch{' (nothing was changed: -n)' if dry else ''}: {words}"
