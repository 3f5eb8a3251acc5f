"""Files that are copied in ranges by several ranks.

Rank 0: `rank0` (a few under way at a time). Any rank: `beginning` (START_FILE), `worker` (RANGE, FINISH_FILE). Pure:
`rules` (which ranges, and when a file is finished).
"""
