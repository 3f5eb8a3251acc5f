"""The ledger: one SQLite file in which a run writes down how far it is. Only rank 0 loads this."""
