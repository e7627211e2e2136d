"""Domains of the range, a module each with a function `load(victim_seed)`."""
