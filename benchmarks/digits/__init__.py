"""A victim for scikit-learn's optical digits, and attackers of it."""
