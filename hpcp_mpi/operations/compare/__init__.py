"""Comparing with a directory or a list (-cfl), and the files that name what differs (-dfl, -tdfl).

Rank 0: `rank0`, `with_list`, `differences`, `changes_file`. Any rank: `worker` (DESCRIBE, LIST_EXTRA).
"""
