"""The proof of work: stamps, difficulty, solvers and the wire form. Standard library only."""
