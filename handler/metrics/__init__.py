"""Figures of a worker for an operator: what was decided, and how long each step took."""
