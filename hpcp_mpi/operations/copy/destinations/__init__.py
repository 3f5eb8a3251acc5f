"""Several destinations: together they hold the sources once.

Rank 0: `rank0` (one copy after the other), `choose` (which destination takes which entry). Pure: `rules` (the hash of a
name). No kind of work of its own.
"""
