"""Samples that mode `observe` recorded, and the detection of accounts that are no legitimate users."""
