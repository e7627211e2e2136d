"""Inputs that calibration generates: queries of attackers, and tolerated changes of legitimate samples."""
