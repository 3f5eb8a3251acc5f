"""Benchmarks: who copies a tree faster, this tool or the others? `make bench ARGS=--help`.

All contestants run in one go, interleaved in every round and in another order each round, so that a machine
that gets slower or busier does so for all. Only ratios within one run mean something; medians are compared.
Nothing but the contestant's own process is timed: from its start to its end, start-up included.
Speed is never a test: the exit status tells only whether everything could be run.

results   what was measured, medians and ratios           (pure)
targets   what must be reached                            (pure)
races     the trees and who takes part                    (pure)
contestants, hpcp_venv   the commands, and where they come from
stopwatch, procs, verify, arena, idle   the measuring
machine, tables, cli             the report
"""
