"""Benchmarks: who copies a tree faster, this tool or the others? `make bench ARGS=--help`.

All contestants run in one go, interleaved in every round and in another order each round, so that a machine
that gets slower or busier does so for all. Only ratios within one run mean something; medians are compared.
Nothing but the contestant's own process is timed: from its start to its end, start-up included.
Speed is never a test: the exit status tells only whether everything could be run.

results, targets   what was measured, and what must be reached                  (pure)
trees, races       the trees; who takes part, with which options and where      (pure)
shapes             races over trees of every shape                             (which run)
sources, shaped, grounds, mounts      make the trees, and the places where they are copied
contestants, hpcp_venv                the commands, and where they come from
stopwatch, procs, verify, inodes      measure and judge one run
arena, listing, rank0, idle           the kinds of benchmarks; benchmarks names them all
machine, estimate, tables, plot, cli  the report
"""
