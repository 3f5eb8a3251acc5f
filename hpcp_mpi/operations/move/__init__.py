"""Sources go when they are copied (-rm with a destination).

Rank 0: `rank0`. Any rank: `worker` (says what has a good copy), with `copies` (where it is, and its name), `proof` (its
bytes and metadata) and `take_out` (makes an entry go, and nothing else). The work is that of `remove`: REMOVE_COPIED.
"""
