"""The texts of refusals."""

from datetime import datetime, timezone

import pytest

from calpow.handler.gate import problems
from calpow.handler.gate.problems import POW_REQUIRED, with_challenge
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.wire import Challenge

EXPIRES = datetime(2026, 1, 15, 12, 5, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.000123, "0.12 ms"),
        (0.0036, "3.6 ms"),
        (0.0994, "99 ms"),
        (0.0996, "0.1 s"),
        (0.124, "0.12 s"),
        (0.999, "1 s"),
        (99.4, "99 s"),
        (99.6, "100 s"),
        (3600.4, "3,600 s"),
    ],
)
def test_a_challenge_tells_its_time_in_digits_that_people_read(seconds: float, text: str) -> None:
    challenge = Challenge("a.b.c", Puzzle("hashcash-sha1", "0a", 18, 18), EXPIRES)
    problem = with_challenge(POW_REQUIRED, challenge, "digits@9f2c41", seconds, 0.0)
    assert f"; about {text} on the reference client." in problem.detail


def test_a_client_may_quote_a_refusal_apart_from_its_challenge() -> None:
    quoted = [problem.detail for problem in vars(problems).values() if isinstance(problem, problems.Problem)]
    assert len(quoted) > 10
    assert not any("below" in detail for detail in quoted)
