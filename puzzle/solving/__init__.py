"""The solver and the miners it drives."""
