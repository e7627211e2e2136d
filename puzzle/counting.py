"""Counts in words."""


def counted(number: int, noun: str) -> str:
    """Return a number of things, in the singular or the plural: `1 account`, `2,000 accounts`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
