"""The proof of work: stamps, puzzles, solvers and their form on the wire. Needs the standard library only."""
