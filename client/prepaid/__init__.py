"""Prepaid stamps, and the wallet that keeps and mints them."""
