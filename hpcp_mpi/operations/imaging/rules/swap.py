"""What the first bytes of a swap area say of it. Pure."""

import struct
import uuid as uuids

from hpcp_mpi.operations.imaging.rules.geometry import Geometry

HEADER = 1 << 16  # bytes that are read: the biggest page
_SIGNATURE = b"SWAPSPACE2"
_HIBERNATED = (b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND", b"LINHIB0001", b"\xed\xc3\x02\xe9\x98\x56\xe5\x0c")
_PAGES = (4096, 8192, 16384, 32768, 65536)
_INFO = struct.Struct("III16s16s")  # version, last page, bad pages, UUID, label
_AT = 1024


def parse_swap(header: bytes) -> Geometry | None:
    """Return the geometry of a swap area; None where there is none. header: its first 64 KiB, or all of it

    fields: `page`, the bytes of a page; `order`, that of its bytes; `hibernated`, if a system sleeps in it.
    """
    for page in _PAGES:
        signature = header[page - 10 : page]
        hibernated = any(signature.startswith(each) for each in _HIBERNATED)
        if signature == _SIGNATURE or hibernated:
            break
    else:
        return None
    for order in "<>":
        version, last, _, number, label = struct.unpack_from(order + _INFO.format, header, _AT)
        if version == 1:
            break
    else:
        return None
    fields = {"page": str(page), "order": order, "last page": str(last)}
    if hibernated:
        fields["hibernated"] = "yes"
    own = str(uuids.UUID(bytes=number)) if any(number) else ""
    return Geometry("swap", (last + 1) * page, page, fields, label.rstrip(b"\0"), own)
