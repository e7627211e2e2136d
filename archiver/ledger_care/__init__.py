"""What an operator does to keep a ledger in order: verification, pruning, backups."""
