"""Charts: ticks, scales and text that cannot break the page."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calpow.archiver.report.svg import Scale, decades, escape, linear, steps


@given(low=st.floats(-1e6, 1e6), width=st.floats(1e-3, 1e6), most=st.integers(1, 9))
def test_ticks_are_few_even_and_within_the_axis(low: float, width: float, most: int) -> None:
    marks = steps(low, low + width, most)
    assert len(marks) <= most + 1
    assert all(low - 1e-6 * width <= mark <= low + width * (1 + 1e-6) for mark in marks)


@pytest.mark.parametrize("low", [0.0, -1e-320])
@pytest.mark.parametrize("width", [0.0, 5e-324, 3e-323, 1e-310])
def test_an_axis_too_short_for_round_numbers_has_a_tick_at_its_start(low: float, width: float) -> None:
    assert steps(low, low + width, 6) == [low]


def test_powers_of_ten_are_thinned() -> None:
    assert decades(1, 10_000, 7) == [1, 10, 100, 1_000, 10_000]
    assert decades(1, 1e7, 4) == [1, 100, 10_000, 1_000_000]


@given(value=st.floats(allow_nan=False))
def test_nothing_is_drawn_outside_the_chart(value: float) -> None:
    assert 0.0 <= Scale(-1.0, 3.0, linear)(value) <= 1.0


@given(st.text())
def test_escaped_text_has_no_mark_up_and_can_be_written(text: str) -> None:
    assert not set("<>\"'\n\x00") & set(escape(text))
    escape(text).encode()
