"""Numbers as the report prints them."""

_UNITS = ((365.25 * 86_400, "years"), (86_400, "days"), (3_600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"))
# Shorter durations are in microseconds.
_SHORTEST = 1e-4


def times(value: float) -> str:
    """Format a measured multiple, to significant digits."""
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}×"


def number(value: float) -> str:
    """Format a measured number of floors or of queries, to significant digits."""
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.2g}" if value >= 9.95 else f"{value:.1f}"


def floors(value: float) -> str:
    """Format a price in floors."""
    return f"{number(value)} floors"


def exactly(value: float) -> str:
    """Format a multiple that was chosen, exactly."""
    return f"{value:,.6g}×"


def duration(seconds: float) -> str:
    """Format a duration in a unit of its size."""
    shortest = (1e-6, "µs") if seconds < _SHORTEST else _UNITS[-1]
    size, unit = next((unit for unit in _UNITS if seconds >= unit[0]), shortest)
    value = seconds / size
    if value < 0.05:
        return f"under 0.1 {unit}"
    text = f"{value:,.1f}" if value < 10 else f"{value:,.0f}"
    text = text.removesuffix(".0")
    return f"{text} {unit[:-1] if text == '1' and len(unit) > 3 else unit}"
