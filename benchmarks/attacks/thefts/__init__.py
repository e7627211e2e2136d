"""Stolen copies and their prices, in files, tables and pages."""
