"""Displays of a run's progress, on rank 0: one of them is a run's watcher.

`choose` says which: `bar` on a terminal, also on one behind mpiexec, else `lines`; `json_lines` for programs. `words`
is what they say, and how it fits. They write by `cli/log.py`, whose `cli/screen.py` knows where the bar is.
"""
