"""The ledger: the accounts, spent solutions, keys and secrets that all workers share."""
