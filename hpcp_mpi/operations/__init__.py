"""One package per operation, and what ties them together.

`session` makes the ranks (MPI or threads), `dispatch` is the one table (verb: rank 0's function; kind of work: any
rank's function), `worker` does any job on a worker, `open_ledger` finds the ledger. In each package the same names mean
the same: `rank0` what rank 0 does, `worker` what any rank does with a unit, `prepare` what comes before anything
starts, `rules` pure decisions.
"""
