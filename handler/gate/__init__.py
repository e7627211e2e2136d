"""The gate: challenges, their tokens, settling, and the problem documents it refuses with."""
