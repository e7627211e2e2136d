"""Prepaid stamps: what they are minted for, and the wallet that keeps them."""
