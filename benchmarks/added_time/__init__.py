"""Time that pricing adds to a pass of the victim."""
