"""Policies: from what an account has revealed to the work it is asked for."""
