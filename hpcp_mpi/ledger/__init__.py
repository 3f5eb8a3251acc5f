"""The ledger: the file in which rank 0 records the progress of a run; the only user of SQLite."""
