"""Sources go when they are copied (-rm with a destination).

Rank 0: `rank0`. Any rank: `worker` (says what has a good copy). The work is that of `remove`: REMOVE_COPIED.
"""
