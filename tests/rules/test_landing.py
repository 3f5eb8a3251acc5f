"""The places where sources land: the table that users of hpcp know, row by row."""

from __future__ import annotations

import pytest

from hpcp_mpi.rules.landing import Type, own_name, place_sources
from hpcp_mpi.vocab.errors import UsageError

DIR, LINK, FILE = Type.DIRECTORY, Type.DIRECTORY_LINK, Type.OTHER
IS_DIR, IS_NOT = True, False

# (sources, destination, is it a directory) -> (its root, [(directory opened, entry of it, path below that root)])
TABLE = [
    # one directory: its contents, unless the destination ends in a slash
    ([(b"src", DIR)], b"dst", IS_NOT, b"dst", [(b"src", None, b"")]),
    ([(b"src", DIR)], b"dst", IS_DIR, b"dst", [(b"src", None, b"")]),
    ([(b"src/", DIR)], b"dst", IS_NOT, b"dst", [(b"src/", None, b"")]),
    ([(b"src/", DIR)], b"dst", IS_DIR, b"dst", [(b"src/", None, b"")]),
    ([(b"src/", DIR)], b"dst/", IS_DIR, b"dst/", [(b"src/", None, b"")]),
    ([(b"src", DIR)], b"dst/", IS_DIR, b"dst/", [(b"src", None, b"src")]),
    ([(b"src", DIR)], b"dst/", IS_NOT, b"dst/", [(b"src", None, b"src")]),
    ([(b"a/b/src", DIR)], b"dst/", IS_NOT, b"dst/", [(b"a/b/src", None, b"src")]),
    # sources without a name of their own
    ([(b".", DIR)], b"dst/", IS_DIR, b"dst/", [(b".", None, b"")]),
    ([(b"a/..", DIR)], b"dst/", IS_DIR, b"dst/", [(b"a/..", None, b"")]),
    ([(b"/", DIR)], b"dst/", IS_DIR, b"dst/", [(b"/", None, b"")]),
    # one file
    ([(b"file", FILE)], b"new", IS_NOT, b".", [(b".", b"file", b"new")]),
    ([(b"in/file", FILE)], b"at/new", IS_NOT, b"at", [(b"in", b"file", b"new")]),
    ([(b"/file", FILE)], b"/new", IS_NOT, b"/", [(b"/", b"file", b"new")]),
    ([(b"file", FILE)], b"there", IS_DIR, b"there", [(b".", b"file", b"file")]),
    ([(b"in/file", FILE)], b"there/", IS_DIR, b"there/", [(b"in", b"file", b"file")]),
    ([(b"file", FILE)], b"new/", IS_NOT, b"new/", [(b".", b"file", b"file")]),
    # a symlink to a directory
    ([(b"dirlink", LINK)], b"out", IS_NOT, b"out", [(b"dirlink", None, b"")]),
    ([(b"dirlink", LINK)], b"out", IS_DIR, b"out", [(b"dirlink", None, b"")]),
    ([(b"in/dirlink", LINK)], b"out/", IS_NOT, b"out/", [(b"in", b"dirlink", b"dirlink")]),
    # several sources
    ([(b"a", DIR), (b"b", DIR)], b"m", IS_NOT, b"m", [(b"a", None, b"a"), (b"b", None, b"b")]),
    ([(b"a", DIR), (b"b", DIR)], b"m/", IS_DIR, b"m/", [(b"a", None, b"a"), (b"b", None, b"b")]),
    ([(b"a/", DIR), (b"b/", DIR)], b"m", IS_NOT, b"m", [(b"a/", None, b""), (b"b/", None, b"")]),
    ([(b"f1", FILE), (b"x/f2", FILE)], b"m", IS_NOT, b"m", [(b".", b"f1", b"f1"), (b"x", b"f2", b"f2")]),
    ([(b"a/", DIR), (b"f", FILE)], b"m", IS_NOT, b"m", [(b"a/", None, b""), (b".", b"f", b"f")]),
    ([(b"a", DIR), (b"in/l", LINK)], b"m", IS_DIR, b"m", [(b"a", None, b"a"), (b"in", b"l", b"l")]),
]


def name_of(row: tuple[list[tuple[bytes, Type]], bytes, bool, bytes, object]) -> str:
    sources, destination, is_directory = row[:3]
    given = [argument.decode() + {FILE: "(file)", LINK: "(link)", DIR: ""}[kind] for argument, kind in sources]
    return f"{'+'.join(given)} to {destination.decode()}{' that exists' if is_directory else ''}".replace("/", "%")


@pytest.mark.parametrize("sources, destination, is_directory, root, places", TABLE, ids=map(name_of, TABLE))
def test_a_source_lands_where_the_table_says(
    sources: list[tuple[bytes, Type]],
    destination: bytes,
    is_directory: bool,
    root: bytes,
    places: list[tuple[bytes, bytes | None, bytes]],
) -> None:
    found_root, landings = place_sources(sources, destination, is_directory)
    assert found_root == root
    assert [(each.source_root, each.name, each.target) for each in landings] == places
    assert [each.argument for each in landings] == [argument for argument, _ in sources]


@pytest.mark.parametrize(
    "sources",
    [
        [(b"a/x", DIR), (b"b/x", DIR)],
        [(b"a/x", FILE), (b"b/x", FILE)],
        [(b"a/x", FILE), (b"b/y", FILE), (b"c/x", DIR)],
        [(b"x", FILE), (b"x", FILE)],
        [(b"a/x", LINK), (b"b/x", FILE)],
    ],
)
def test_sources_that_would_land_on_one_path_are_refused_by_name(sources: list[tuple[bytes, Type]]) -> None:
    with pytest.raises(UsageError) as refused:
        place_sources(sources, b"m", True)
    assert sources[0][0].decode() in refused.value.message
    assert sources[-1][0].decode() in refused.value.message
    assert refused.value.remedy and refused.value.exit_code == 2


@pytest.mark.parametrize(
    "argument, name",
    [
        (b"a", b"a"),
        (b"x/a", b"a"),
        (b"x/a/", b""),
        (b".", b""),
        (b"..", b""),
        (b"x/..", b""),
        (b"/", b""),
        (b".a", b".a"),
    ],
)
def test_the_name_of_a_source_is_its_last_component_if_that_is_a_name(argument: bytes, name: bytes) -> None:
    assert own_name(argument) == name
