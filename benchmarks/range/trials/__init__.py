"""Trials of the policies on a domain: protect its victim, calibrate, and measure what users and thieves pay."""
