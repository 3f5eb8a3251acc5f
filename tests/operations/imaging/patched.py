"""Patches made of directories, in directories, in this process: without images, so by anybody and in no time."""

from __future__ import annotations

import gc
import os
import subprocess
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import cast

from hpcp_mpi.cluster.signals import StopRequest
from hpcp_mpi.engine.frontend import Frontend
from hpcp_mpi.host.block.mounts import MountRoom
from hpcp_mpi.operations.imaging.patch.applying import apply_to
from hpcp_mpi.operations.imaging.patch.contents import Contents
from hpcp_mpi.operations.imaging.patch.files import open_volumes
from hpcp_mpi.operations.imaging.patch.images import Side
from hpcp_mpi.operations.imaging.run import Imaging
from hpcp_mpi.operations.session import team_of_threads
from hpcp_mpi.vocab.image_options import ImageOptions
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Verb

TABLES = ("changes.tsv", "hpcp-mpi.tsv")


def _run(verb: Verb, options: Options, images: ImageOptions, said: list[str]) -> Imaging:
    stop = StopRequest()
    frontend = Frontend(stop, team=partial(team_of_threads, stop), say=said.append)
    return Imaging(
        Request(verb, (), options=options, images=images), images, frontend, cast(MountRoom, None), ExitStack()
    )


def make_patch(new: Path, base: Path, patch: Path, options: Options | None = None) -> Path:
    """Write a patch that leads from base to new into a new directory."""
    gc.freeze()  # the end of each team collects garbage: not that of all tests before
    run = _run(Verb.PATCH, options or Options(), ImageOptions(), [])
    contents = Contents(run, *(Side(os.fsencode(each), os.fsencode(each), False) for each in (new, base)))
    contents.compare()
    contents.look()
    patch.mkdir()
    contents.fill(os.fsencode(patch), contents.payload())
    return patch


def apply_patches(
    patches: list[Path],
    target: Path,
    *,
    force: bool = False,
    options: Options | None = None,
    said: list[str] | None = None,
) -> Report:
    gc.freeze()
    run = _run(Verb.APPLY, options or Options(), ImageOptions(force_apply=force), said if said is not None else [])
    with open_volumes([(os.fsencode(patch), os.fsencode(patch)) for patch in patches]) as volumes:
        report = apply_to(run, volumes, os.fsencode(target))
    assert not report.failures, report.failures
    return report


def copy_of(tree: Path, to: Path) -> Path:
    subprocess.run(["cp", "-a", "-T", tree, to], check=True)
    return to


def differences(one: Path, other: Path) -> str:
    """What rsync and find say of two trees; "" if they are equal, hard links and times of directories included."""
    rsync = ["rsync", "-aHAXn", "--devices", "--specials", "--checksum", "--delete", "-i", f"{one}/", f"{other}/"]
    said = subprocess.run(rsync, check=True, capture_output=True).stdout.decode(errors="surrogateescape")
    return said + ("" if _listed(one) == _listed(other) else f"{_listed(one) ^ _listed(other)}")


def _listed(tree: Path) -> set[bytes]:
    shown = r"%p\t%y\t%m\t%U\t%G\t%T@\t%l\t%n\0"
    out = subprocess.run(["find", ".", "-printf", shown], cwd=tree, check=True, capture_output=True).stdout
    return set(out.split(b"\0"))
