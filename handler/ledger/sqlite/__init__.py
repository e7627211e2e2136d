"""The ledger in one SQLite file, for the workers of one machine."""
