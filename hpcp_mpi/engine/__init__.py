"""What every operation runs on.

Rank 0: `coordinator` (one job: backlog, planner, loop), `operation` (what it asks of the operation that it runs),
`frontend` (progress display, questions, changes found), `checkpoints`, `walk_feed`, `timeline`, `progress_meter`,
`remaining_time`, `sorted_items`, `walltime`, `as_one` (worker processes are shown as one rank). Any rank: `context`
(trees, stages and commands of the job), `destination`, `backup`, `equal_files`, `itemize`, `losses`,
`unstorable_times`, `broken_work`.
"""
