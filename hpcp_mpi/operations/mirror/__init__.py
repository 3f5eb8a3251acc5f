"""What the sources do not have goes from the destination, when all is copied (-rme).

Rank 0: `rank0`. Any rank: `worker` (says what is extra, moves it to the backup directory), `case_folding`. Pure:
`rules`. The work is that of `remove`: REMOVE and COUNT of the destination.
"""
