"""The Python API, behind the package hpcp_mpi: what its functions are, and how they are carried out on all ranks.

Signatures and docstrings: `copies` (copy, mirror, move), `others` (compare, verify, list_files, remove, status).
What a call means: `keywords` (those that there are), `values` (what they may be), `asked` (the request), `command` (the
command line that asks for the same). What is done: `run`, on every rank; `watching` (callbacks, log), `ledgers`.
"""
