"""Malformed requests, by HTTP and gRPC: the worker survives them, answers none, and keeps its memory."""

import pytest

from benchmarks.serving.malformed import REQUESTS, RequestCounts, assail
from tests.support.guarded import Site

# What the worker's allocator may still take after the first fifth.
MOST_GROWTH = 24 << 20


def check(outcome: RequestCounts) -> None:
    assert outcome.answered == 0
    assert outcome.faults == 0
    assert outcome.failures == 0
    assert not outcome.restarts
    assert outcome.end - outcome.warm < MOST_GROWTH
    problems = {result.split()[-1] for result in outcome.results}
    expected = {"pow-required", "malformed-solution", "invalid-solution", "identity-missing", "identity-unknown"}
    assert expected <= problems, "the requests reach every check of a solution"


@pytest.mark.parametrize("model", ["vector", "eager"])
def test_a_thousand_malformed_requests_do_no_harm(site: Site, model: str) -> None:
    outcome = assail(site.server, model, site.ledger, 1_000, seed=1)
    assert sum(outcome.results.values()) == 1_000
    check(outcome)


@pytest.mark.long
def test_a_hundred_thousand_malformed_requests_do_no_harm(site: Site) -> None:
    outcome = assail(site.server, "vector", site.ledger, REQUESTS, seed=2)
    assert sum(outcome.results.values()) == REQUESTS
    check(outcome)
