"""The solver of puzzles, and the miners that search for stamps."""
