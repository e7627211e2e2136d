"""Privacy accounting of noisy votes (GNMax): reference formulas, and the tables a request uses."""
