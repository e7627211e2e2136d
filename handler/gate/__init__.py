"""The gate: challenges and their tokens, checks, settlement, and the problem documents of refusals."""
