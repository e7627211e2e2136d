"""Policies: the work that an account is asked for, from the evidence that it has run up."""
