"""The real planner and workers on thousands of simulated ranks: `python -m tests.simulate`."""
