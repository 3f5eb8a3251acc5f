"""What the sources do not have goes from the destination, when all is copied (-rme).

What is extra is found by the scan (`scan/lister`). Rank 0: `rank0` (whether it may go). Any rank: `worker` (the last
look before it goes; the way to the backup directory). Pure: `batches`. The work is that of `remove`:
REMOVE and COUNT of the destination.
"""
