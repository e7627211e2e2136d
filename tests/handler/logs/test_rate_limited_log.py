"""A warning is logged at once, and then at most once a minute."""

import logging

import pytest

from calpow.handler.logs.rate_limited_log import SECONDS_BETWEEN_LINES, RateLimitedLog


def test_a_kind_of_warning_is_logged_once_a_minute_with_the_number_of_suppressed_ones(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]
    log = RateLimitedLog(logging.getLogger("calpow.test"), "calpow: ", lambda: now[0])
    for _ in range(5):
        log.warning("no disk", "full")
    log.warning("no ledger", "locked")
    now[0] += SECONDS_BETWEEN_LINES
    log.warning("no disk", "still full")
    now[0] += SECONDS_BETWEEN_LINES
    log.warning("no disk", "full again")
    assert caplog.messages == [
        "calpow: no disk: full",
        "calpow: no ledger: locked",
        "calpow: no disk: still full (4 more like it)",
        "calpow: no disk: full again",
    ]


def test_errors_and_warnings_have_their_level(caplog: pytest.LogCaptureFixture) -> None:
    log = RateLimitedLog(logging.getLogger("calpow.test"))
    log.warning("no disk", "full")
    log.error("no ledger", "locked")
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
