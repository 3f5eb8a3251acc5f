"""Every copy is read again by a rank that did not write it (--verify).

Rank 0: `rank0` (records who wrote what, hands it to others). Any rank: `worker` (VERIFY), `reread` (one pair of
entries). Pure: `records`.
"""
