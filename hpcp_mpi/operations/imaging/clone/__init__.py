"""Clones of disks (-dd), on rank 0: `rank0` leads, `source` and `target` are the two disks.

`plan` knows all before anything is written (its `geometry`, its `report` for a dry run), `work` is what is under way,
`partitions` makes each partition: its `files`, then `additions`. `verify` compares.
"""
