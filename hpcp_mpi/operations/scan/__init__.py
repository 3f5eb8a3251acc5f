"""Trees to units: what copy, compare and mirror begin with.

Rank 0: `rank0` (the scan), `copy_scan` (what a copy needs of any scan), `relist` (directories that are listed again),
`task` (a directory on its way), `single_entry` (what a command names that is no directory), `waiting` (what waits for
the end), `link_targets` (what a mirror must not remove). Any rank: `worker` (LIST), `lister` (one directory beside its
counterpart), `at_once` (a new one and those in it), `equal_entries` (what needs nothing, found on the spot), `extras`
(what only the destination has), `counterpart` (what is there by now). Pure: `classify`, `unit_builder` with `in_bulk`
and `batches`, `sharing` (who lists), `link_groups`, `records`, `deferred`, `symlinks`.
"""
