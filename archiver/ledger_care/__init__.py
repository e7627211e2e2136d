"""Maintenance of a ledger by an operator: verification, pruning, backups, moves."""
