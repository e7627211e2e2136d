"""Fit of the policies to scored samples: thresholds, bets, simulated users and thieves."""
