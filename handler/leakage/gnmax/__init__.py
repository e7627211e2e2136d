"""Privacy accounting of noisy votes (GNMax): reference formulas, and the tables that price requests."""
