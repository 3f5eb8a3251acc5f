"""Trees to units: what copy, compare and mirror begin with.

Rank 0: `rank0` (the scan), `copy_scan` (what a copy needs of any scan), `relist` (directories that are listed again),
`task` (a directory on its way), `waiting` (what waits for the end), `link_targets` (what a mirror must not remove). Any
rank: `worker` (LIST), `lister` (one directory beside its counterpart), `equal_entries` (what needs nothing, found on
the spot). Pure: `classify`, `unit_builder`, `link_groups`, `records`, `deferred`, `symlinks`.
"""
