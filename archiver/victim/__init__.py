"""Victims as the owner's tools use them: opened without a server, followed, and examined."""
