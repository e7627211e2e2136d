"""Inputs that are not legitimate for a victim: images, table rows and texts."""
