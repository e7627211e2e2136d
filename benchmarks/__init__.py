"""Attacks, speed and the demo, measured on real servers."""
