"""The file in which a run writes down how far it is; the only user of SQLite."""
