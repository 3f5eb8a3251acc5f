"""What relative symlinks lead to is copied too (-lt).

Rank 0: `rank0` (copies until nothing follows), `scan` (of named places). No kind of work of its own.
"""
