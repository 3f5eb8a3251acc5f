"""The table of extended attributes that are copied with a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcp_mpi.vocab.attributes import ACCESS_ACL, DEFAULT_ACL, any_carried, is_carried, says_more_than_mode
from tests.support.trees import encode_acl

OF_THE_PLACE = (
    *("trusted.SGI_ACL_FILE", "trusted.SGI_ACL_DEFAULT", "trusted.SGI_CAP_FILE", "trusted.SGI_DMI_X", "xfsroot.x"),
    *("trusted.gfid", "trusted.glusterfs.dht", "trusted.afr.v-client-0", "trusted.overlay.opaque"),
    *(
        "lustre.lov",
        "trusted.lov",
        "trusted.lma",
        "trusted.link",
        "trusted.fid",
        "btrfs.compression",
        "ceph.dir.layout",
    ),
    *("system.nfs4_acl", "system.cifs_acl", "afs.acl", "security.selinux", "security.ima", "security.evm"),
)
OF_THE_FILE = (
    *("user.comment", "user.", "trusted.mine", "trusted.overlaid", "security.capability", "user.trusted.gfid"),
    *(name.decode() for name in (ACCESS_ACL, DEFAULT_ACL)),
)


@pytest.mark.parametrize("name", OF_THE_PLACE)
def test_what_belongs_to_the_place_is_left(name: str) -> None:
    assert not is_carried(name) and not is_carried(name.encode())


@pytest.mark.parametrize("name", OF_THE_FILE)
def test_what_belongs_to_the_file_goes_with_it(name: str) -> None:
    assert is_carried(name) and is_carried(name.encode())


def test_one_of_the_file_is_enough() -> None:
    assert not any_carried([]) and not any_carried(["security.selinux"]) and any_carried(["security.selinux", "user.a"])


def test_what_cp_skips_is_left() -> None:
    """An attribute that `cp` does not copy in a first run must not be a difference to the second."""
    conf = Path("/etc/xattr.conf")
    if not conf.exists():
        pytest.skip("there is no /etc/xattr.conf (libattr1)")
    rules = [line.split("#")[0].split() for line in conf.read_text().splitlines()]
    skipped = [rule[0].replace("*", "any") for rule in rules if len(rule) == 2 and rule[1] == "skip"]
    assert skipped and [name for name in skipped if is_carried(name)] == []


def test_an_acl_that_is_the_mode_is_none() -> None:
    assert not says_more_than_mode(ACCESS_ACL, encode_acl("u::rw-,g::r--,o::r--"))
    assert says_more_than_mode(ACCESS_ACL, encode_acl("u::rw-,g::r--,m::rw-,o::r--"))
    assert says_more_than_mode(DEFAULT_ACL, encode_acl("u::rw-,g::r--,o::r--"))
