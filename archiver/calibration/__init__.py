"""Calibration: measure legitimate use, fit the policies, rehearse them."""
