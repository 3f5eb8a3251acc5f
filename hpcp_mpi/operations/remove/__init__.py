"""Removing trees (-rm), and what mirrors and moves remove.

Rank 0: `rank0`, `prepare` (what must not be removed). Any rank: `worker` (REMOVE, COUNT, REMOVE_COPIED, RMDIR),
`empty_directory` (one directory, by descriptor), `own_files` (what the run itself writes, and keeps). Pure: `rules`
(when a directory is empty, by counting).
"""
