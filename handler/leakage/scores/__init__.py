"""Scores: each maps a sample to one number, which is higher the odder the sample is."""
