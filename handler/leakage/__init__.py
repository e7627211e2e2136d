"""Leakage scores: how much a query can reveal about the training data, as one number a sample."""
