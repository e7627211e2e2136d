"""Numbers as the report prints them."""

import pytest

from calpow.archiver.report.formats import duration, exactly, floors, number, times


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1.5e-8, "under 0.1 µs"),
        (2.8e-5, "28 µs"),
        (0.0004, "0.4 ms"),
        (0.1, "100 ms"),
        (1, "1 s"),
        (90, "1.5 min"),
        (86_400, "1 day"),
        (1e9, "32 years"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_prices_have_two_digits_at_least() -> None:
    assert [number(price) for price in (1.0, 9.96, 12.3, 99.4, 99.6, 2_948.4)] == [
        "1.0",
        "10",
        "12",
        "99",
        "100",
        "2,948",
    ]
    assert floors(34.2) == "34 floors"


def test_measured_multiples_have_significant_digits_and_chosen_ones_all() -> None:
    assert [times(multiple) for multiple in (1.234, 12.34, 1234.5)] == ["1.23×", "12.3×", "1,234×"]
    assert [exactly(multiple) for multiple in (2.0, 2.25, 1000.0)] == ["2×", "2.25×", "1,000×"]
