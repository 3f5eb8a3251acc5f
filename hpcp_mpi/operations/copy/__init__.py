"""Copying, with all that follows from it: hard links, directories' metadata, resuming.

Rank 0: `rank0` (a command's copies, one after the other), `phases` (one copy from start to end), `resume` (what another
run must know), `totals` (the numbers of all runs of a ledger). Any rank: `worker` (COPY), `publishing` (its renames),
`symlinks` (made without cp), `check` (CHECK), `directories` (MKDIR, SET_DIR_METADATA, CLEAN_STAGE), `hard_links`
(LINK), `cp_failures` (what a failed cp left), `content_only` (-co); `guarded_cp` and `by_descriptor` (what other users
may change while it is copied). Packages of its own: `big_files`, `destinations`, `symlink_targets`, `from_list`.
"""
