"""Helpers of tests and benchmarks: trees to copy, an oracle that judges copies, launchers, a faulty file system.

Nothing in here imports hpcp_mpi: a judge must not share the defendant's code.
"""
