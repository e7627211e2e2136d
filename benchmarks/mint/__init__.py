"""Rates of minting stamps, of all solvers."""
