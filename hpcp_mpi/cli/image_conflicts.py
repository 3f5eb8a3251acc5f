"""Combinations of options for images that are refused as meaningless or unsafe, each with the remedy; on rank 0.

What depends on what lies there (is the image new, what does its table hold) is refused by `operations/imaging`.
"""

import os
from collections.abc import Iterator
from typing import Any

from hpcp_mpi.cli.options_imaging import NAMES
from hpcp_mpi.vocab.errors import UsageError
from hpcp_mpi.vocab.image_options import ImageOptions
from hpcp_mpi.vocab.options import MIB
from hpcp_mpi.vocab.request import Verb

_COPY, _LIST, _COMPARE = Verb.COPY, Verb.LIST, Verb.COMPARE
_IMAGE, _CLONE, _PATCH, _APPLY = Verb.IMAGE, Verb.CLONE, Verb.PATCH, Verb.APPLY
SMALLEST_VOLUME = 64 * MIB
_SHORT = {"remove_extra": "-rme", "rate_limit": "-L", "file_rate_limit": "-F"}
# What an option is about, and the verbs that it is for.
_MEANT_FOR = {
    "dest_image_size": ("limits the images that -di makes", _IMAGE),
    "dd_resize": ("is about the partitions of a clone (-dd)", _CLONE),
    "no_fs_param_mirror": ("is about the file systems of a clone (-dd)", _CLONE),
    "force_apply": ("is about patches to apply (-siff)", _APPLY),
    "image_fs": ("is about a new image of -di", _IMAGE),
    "image_root": ("is about where sources land in the image of -di", _IMAGE, _COMPARE, _PATCH),
    "image_label": ("is about a new image of -di", _IMAGE),
    "mkfs_option": ("is about a new image of -di", _IMAGE),
    "raw": ("is about the partitions of a clone (-dd)", _CLONE),
    "partition": (
        "picks from a partitioned image of -si or -di; a clone is of all",
        *(_COPY, _LIST, _COMPARE, _IMAGE, _PATCH, _APPLY),
    ),
    "unclean": (
        "is about images and disks as sources (-si, -dd)",
        *(_COPY, _LIST, _COMPARE, _IMAGE, _CLONE, _PATCH),
    ),
    "no_grow": ("is about the image that -di writes to", _IMAGE),
    "no_check": ("is about file systems that are written to", _IMAGE, _CLONE, _PATCH, _APPLY),
    "yes": ("is about what a clone or a patch would overwrite", _CLONE, _PATCH),
}
# Options of copies that no run with images has, or only some verbs.
_NOT_WITH = {
    "remove": ("-rm", "nothing is removed from the sources of images, and nothing from images", ()),
    "remove_extra": ("-rme", "only an existing image (-di) is made a mirror", (_IMAGE,)),
    "source_list": ("-sfl", "what a list names is not copied from or to images", ()),
    "link_tracking": ("-lt", "what links point to may lie outside of an image", ()),
    "no_batch": ("-nb", "with images all sources are one plan", ()),
    "backup_dir": ("--backup-dir", "nothing is kept beside the tree in an image", (_COPY,)),
    "directory_only": ("-do", "images get whole trees", (_COPY,)),
    "no_directory_sync": ("-nds", "images get all metadata", (_COPY, _COMPARE)),
    "content_only": ("-co", "images get all metadata", (_COPY, _COMPARE)),
}


def refuse_images(verb: Verb, given: Any) -> None:
    """Raise UsageError if options contradict each other in a command line with options for images."""
    checks = (_empty, _swallowed, _without_image, _of_another_verb, _of_copies, _places, _clones, _patches, _new_images)
    for check in checks:
        for says, remedy in check(verb, given):
            raise UsageError(says, remedy)


def named(given: Any, attribute: str) -> list[str]:
    """Return the values of an option that takes several and may be given again."""
    return [value for values in getattr(given, attribute) or () for value in values]


def makes_squashfs(given: Any) -> bool:
    """Return whether a new image is a squashfs, by what was given."""
    image = os.fsencode((given.dest_image or [""])[0])
    return ImageOptions(image=image, file_system=given.image_fs or "auto").makes_squashfs


def _empty(verb: Verb, given: Any) -> Iterator[tuple[str, str]]:
    for attribute in ("dest_image", "partition", "raw"):
        if "" in (getattr(given, attribute) or ()):
            yield f"the value of {NAMES[attribute]} is empty", "Name one, or leave the option out."
    for attribute, what in (("src_image", "image"), ("load_diff_image", "patch")):
        option = NAMES[attribute]
        if "" in named(given, attribute):
            yield f"the name of one {what} of {option} is empty", "Name a file."
        if any(not values for values in getattr(given, attribute) or ()):
            yield f"{option} names no {what}", f"hpcp-mpi {option} FILE... -d DST: what is copied to is named with -d."
    if len(given.dest_image or ()) > 1:
        yield "there is one image to copy into, and -di names several", "Give -di once."


def _swallowed(verb: Verb, given: Any) -> Iterator[tuple[str, str]]:
    """Yield what is wrong where -si or -siff has taken the destination for a source, as they take all that follows."""
    target = given.dest_path or given.dest_image
    reads_only = verb is _LIST or (verb is _COMPARE and given.file_list is not None)
    for attribute, what in (("load_diff_image", "patches to apply"), ("src_image", "images to copy from")):
        option, names = NAMES[attribute], named(given, attribute)
        if names and not target and not reads_only:
            if given.src_path:
                last, took = given.src_path[-1], f"{option} goes with a destination that is named"
            else:
                last = names[-1] if len(names) > 1 else "DST"
                took = f"all that follows {option} are {what}, so no destination is given"
            more = "... " if len(names) + len(given.src_path) > 2 else ""
            if attribute == "src_image" and given.disk_dump:
                yield took, f"Name it with -di: hpcp-mpi -dd {option} {names[0]} -di {last}"
            yield took, f"Name it with -d (or -di: into an image): hpcp-mpi {option} {names[0]} {more}-d {last}"
        if names and given.src_path:
            yield (
                f"{option} goes without other sources, and {given.src_path[0]} is one",
                "Name a destination with -d; copy from images and from directories in two runs.",
            )


def _without_image(verb: Verb, given: Any) -> Iterator[tuple[str, str]]:
    """Yield options about images where no image is named."""
    if given.src_image or given.dest_image or verb in (_CLONE, _PATCH, _APPLY):
        return
    for attribute, (about, *_) in _MEANT_FOR.items():
        if getattr(given, attribute) not in (None, False):
            yield f"{NAMES[attribute]} {about}, and there is none", f"Leave out {NAMES[attribute]}; see hpcp-mpi -h."


def _of_another_verb(verb: Verb, given: Any) -> Iterator[tuple[str, str]]:
    for attribute, (about, *verbs) in _MEANT_FOR.items():
        if getattr(given, attribute) not in (None, False) and verb not in verbs:
            yield f"{NAMES[attribute]} has no meaning here: it {about}", f"Leave out {NAMES[attribute]}."
    if given.image_root and not given.dest_image:
        yield f"--image-root has no meaning here: it {_MEANT_FOR['image_root'][0]}", "Leave out --image-root."
    if given.unclean and not (given.src_image or verb in (_CLONE, _PATCH)):
        yield f"--unclean has no meaning here: it {_MEANT_FOR['unclean'][0]}", "Leave out --unclean."
    if given.partition and not (given.src_image or given.dest_image):
        yield f"--partition has no meaning here: it {_MEANT_FOR['partition'][0]}", "Leave out --partition."
    if len(given.partition or ()) > 1 and not given.src_image:
        yield "one partition of an image is written to, and --partition names several", "Give --partition once."


def _of_copies(verb: Verb, given: Any) -> Iterator[tuple[str, str]]:
    for attribute, (option, why, verbs) in _NOT_WITH.items():
        if getattr(given, attribute) and verb not in verbs:
            yield f"{option} cannot be given with images: {why}", f"Leave out {option}."
    if given.ledger is not None or given.resume:
        option = "--resume" if given.resume else "--ledger"
        yield (
            f"{option} cannot be given with images: such a run has no ledger",
            "Leave it out; after a stop the same command does the rest.",
        )
    if given.remove_force and verb in (_CLONE, _PATCH, _APPLY):
        remedy = "Give -fa." if verb is _APPLY else "Give --yes."
        yield "-rf answers questions about removals, and none is asked here", remedy
    excluded = given.exclude or given.exclude_file or given.exclude_optional or given.exclude_file_optional
    if excluded and verb is _APPLY:
        yield "-e and -x cannot be given with -siff: a patch is applied whole", "Leave them out when the patch is made."
    if (given.file_list is not None or _compares(given)) and verb in (_CLONE, _PATCH, _APPLY):
        option = "-siff" if verb is _APPLY else "-diff" if verb is _PATCH else "-dd"
        yield (
            f"{option} makes no list and no comparison",
            "Leave out -fl, -cfl, -dfl, -tdfl, or compare in a second run.",
        )


def _compares(given: Any) -> bool:
    return given.compare_file_list or given.diff_file_list is not None or given.tar_diff_file_list


def _places(verb: Verb, given: Any) -> Iterator[tuple[str, str]]:
    if given.dest_image and given.dest_path:
        yield "-d and -di name two destinations", "Give one of them."
    if given.tar_diff_file_list and given.dest_image:
        yield "-tdfl cannot be given with -di: no tar file brings an image up to date", "Use -diff, or leave out -tdfl."
    if (given.dest_image or given.dest_path) and given.file_list is not None:
        yield (
            "with -fl there is no destination: a list is written or compared, nothing is copied",
            "List an image with -si IMG -fl LIST; copy, then list: two runs.",
        )
    if verb is _IMAGE and not given.src_path and not given.src_image:
        yield "no source was given", "hpcp-mpi SRC... -di IMG"
    if verb is _COMPARE and given.dest_image and not given.src_path and not given.src_image:
        yield "no source was given", "hpcp-mpi -cfl SRC... -di IMG"


def _clones(verb: Verb, given: Any) -> Iterator[tuple[str, str]]:
    if not given.disk_dump:
        return
    sources = named(given, "src_image") + given.src_path
    targets = (given.dest_image or []) + (given.dest_path or [])
    if given.load_diff_image:
        yield "-dd and -siff: a patch is applied to a disk as to any image", "hpcp-mpi -siff PATCH -di DISK"
    if not targets:
        yield "-dd names no destination", "hpcp-mpi -dd SRC -di DST"
    if len(targets) > 1:
        yield "a disk is cloned to one destination", "Give -di once."
    if not sources:
        yield "-dd names no disk or image to clone", "hpcp-mpi -dd SRC -di DST"
    if len(sources) > 1:
        yield f"-dd clones one disk, and {len(sources)} are named", "hpcp-mpi -dd SRC -di DST, one run for each."
    if given.random_dest_selection:
        yield "-rds spreads files over several destinations, and a clone has one", "Leave out -rds."
    wanted = given.dd_resize or []
    names = [partition for partition, _, _ in wanted if partition]
    for name in names:
        if names.count(name) > 1:
            yield f"-ddr gives partition {name} two sizes", "Give each partition one size."
    if [word for _, _, word in wanted].count("max") > 1:
        yield "-ddr gives the rest of the disk to two partitions", "Give max once."


def _patches(verb: Verb, given: Any) -> Iterator[tuple[str, str]]:
    if verb is _APPLY:
        if given.src_image:
            yield "-siff applies patches, and -si names something else to copy", "Leave out -si."
        if given.get_diff_image is not None:
            yield "-diff writes a patch and -siff applies one", "Do it in two runs."
        if len(given.dest_path or ()) > 1:
            yield "a patch is applied to one tree", "Give -d once."
    if verb is not _PATCH:
        return
    swallowed = given.get_diff_image and f"; -diff took {given.get_diff_image} for its PATCH: put -diff last"
    targets = (given.dest_path or []) + (given.dest_image or [])
    sources = given.src_path + named(given, "src_image")
    if not targets and len(sources) > 1:
        sources, targets = sources[:-1], sources[-1:]
    if not sources or not targets:
        yield f"-diff compares two trees{swallowed or ''}", "hpcp-mpi NEW -d BASE -diff [PATCH]"
    positional = len(given.src_path) - (0 if given.dest_path or given.dest_image else 1)
    if len(targets) > 1 or positional > 1:
        yield "-diff compares one tree with one other, and more are named", "hpcp-mpi NEW -d BASE -diff [PATCH]"
    if given.get_diff_image and os.path.isdir(given.get_diff_image):
        yield (
            f"-diff would write its patch to {given.get_diff_image}, which is a directory",
            "The word after -diff is its PATCH: put -diff last, or write -diff=PATCH.",
        )


def _new_images(verb: Verb, given: Any) -> Iterator[tuple[str, str]]:
    if given.dest_image_size is not None and given.dest_image_size < SMALLEST_VOLUME:
        yield "-dis: an image of less than 64 MiB has no room for files", "Give a size of 64 MiB or more."
    if verb is not _IMAGE or not makes_squashfs(given):
        return
    for attribute, why in (
        ("dest_image_size", "a squashfs is as big as what is in it"),
        ("image_label", "a squashfs has no label"),
        ("no_grow", "a squashfs is never changed"),
        ("rate_limit", "mksquashfs has no limit"),
        ("file_rate_limit", "mksquashfs has no limit"),
        ("remove_extra", "a squashfs is never changed"),
    ):
        if getattr(given, attribute) not in (None, False, 0):
            option = _SHORT.get(attribute) or NAMES[attribute]
            yield f"{option} has no meaning here: {why}", f"Leave out {option}, or choose another --image-fs."
