"""Copying what a file list names (-sfl).

Rank 0: `rank0` (reads the list), `scan` (of what it names). No kind of work of its own.
"""
