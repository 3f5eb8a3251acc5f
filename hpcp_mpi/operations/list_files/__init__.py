"""Writing file lists (-fl).

Rank 0: `rank0`, `named`. Any rank: `worker` (LIST_NAMES), `values` (hashes, link targets).
"""
