"""Units in parts that one slot does in one go."""

from hpcp_mpi.vocab.units import Units


def bites(units: Units, limit: int, file_cost: int) -> list[Units]:
    """Return units in parts of about limit each: bytes of weight, where an entry weighs file_cost beside its bytes."""
    if units.amount + units.entries * file_cost <= limit:
        return [units] if len(units) else []
    parts: list[Units] = []
    begin = weight = 0
    for end, (entries, amount) in enumerate(units.loads(), 1):
        weight += entries * file_cost + amount
        if weight >= limit:
            parts.append(units[begin:end])
            begin, weight = end, 0
    if begin < len(units):
        parts.append(units[begin:])
    return parts
