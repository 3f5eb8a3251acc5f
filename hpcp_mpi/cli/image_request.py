"""The request of a command line with options for images, on rank 0: its verb, sources and destinations."""

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hpcp_mpi.cli.image_conflicts import named
from hpcp_mpi.vocab.image_options import ImageOptions, Resize, Unclean
from hpcp_mpi.vocab.request import Request, Verb


def image_verb(given: Any) -> Verb | None:
    """Return what a command line with options for images does; None: what one without them does. given: the parser's"""
    if given.load_diff_image is not None:
        return Verb.APPLY
    if given.get_diff_image is not None:
        return Verb.PATCH
    if given.disk_dump:
        return Verb.CLONE
    if given.src_image is None and given.dest_image is None:
        return None
    if given.compare_file_list or given.diff_file_list is not None or given.tar_diff_file_list:
        return Verb.COMPARE
    if given.file_list is not None:
        return Verb.LIST
    return Verb.COPY if given.dest_image is None else Verb.IMAGE


def with_images(request: Request, given: Any) -> Request:
    """Return a request with its images, sources and destinations. request: without sources and destinations."""
    paths = _encoded(given.src_path)
    images = ImageOptions(
        images=_encoded(named(given, "src_image")),
        image=os.fsencode(given.dest_image[0]) if given.dest_image else b"",
        volume_size=given.dest_image_size or 0,
        resize=tuple(Resize(*each) for each in given.dd_resize or ()),
        mirror_geometry=not given.no_fs_param_mirror,
        file_system=given.image_fs or "auto",
        image_root=given.image_root,
        label=given.image_label or "",
        partitions=tuple(given.partition or ()),
        raw=tuple(given.raw or ()),
        unclean=Unclean(given.unclean or "refuse"),
        grow=not given.no_grow,
        check=not given.no_check,
        yes=given.yes,
        mkfs_options=tuple(named(given, "mkfs_option")),
        patch=None if given.get_diff_image is None else os.fsencode(given.get_diff_image),
        patches=_encoded(named(given, "load_diff_image")),
        force_apply=given.force_apply,
        disk=given.disk_dump,
    )
    destinations = _encoded(given.dest_path or ())
    if given.disk_dump:
        # A disk is named in any of four ways, and known in one.
        images = replace(images, images=images.images or paths, image=images.image or destinations[0])
        paths, destinations = (), ()
    elif request.verb is Verb.PATCH and not destinations and not images.image:
        paths, destinations = paths[:-1], paths[-1:]
    return replace(request, sources=paths, destinations=destinations, images=images, patterns=bool(given.dest_path))


def _encoded(names: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(map(os.fsencode, names))
