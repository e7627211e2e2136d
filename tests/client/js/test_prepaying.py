"""powFetch pays beforehand as PowAuth does: with which stamps, at which time, and when it goes back to challenges."""

import calendar
import time
from collections.abc import Iterator
from typing import Any

import pytest

from calpow.puzzle.stamp import Stamp
from calpow.puzzle.wire import Challenge
from tests.support.node import needs_node, run_in_node
from tests.support.pow_server import PowServer, running

pytestmark = needs_node

# Asks for the bodies "0", "1", ... one after another, and waits for the worker in the background before each.
QUERIES = """
    const outcomes = [];
    for (let number = 0; number < count; number++) {
      const reports = [];
      const onProgress = ({ puzzle, found }) => reports.push([puzzle.expectedHashes, found]);
      const init = { method: "POST", body: String(number), key: "k", onProgress, ...options };
      try {
        const answer = await powFetch(url, init);
        outcomes.push({ status: answer.status, text: await answer.text(), reports });
      } catch (error) {
        outcomes.push({ error: error.name, text: error.message, reports });
      }
      await pause(waiting);
    }
    return outcomes;
"""


@pytest.fixture
def server() -> Iterator[PowServer]:
    with running(PowServer()) as server:
        yield server


def queries(server: PowServer, count: int, *, waiting: float = 0, path: str = "priced", **options: object) -> Any:
    url = f"{server.url}/{path}"
    return run_in_node(QUERIES, url=url, count=count, waiting=waiting, options=options)


def solutions(server: PowServer) -> list[list[str]]:
    """The solution of each request that the server got, as its parts."""
    return [request.headers.get("pow-solution", "").split() for request in server.requests]


def kinds(server: PowServer) -> list[str]:
    """Of each request that the server got: `none`, `prepaid` or `token`."""
    return [(parts[0] if parts[0] == "prepaid" else "token") if parts else "none" for parts in solutions(server)]


def test_a_known_price_is_paid_with_the_first_sending(server: PowServer) -> None:
    outcomes = queries(server, 4)

    assert [outcome["status"] for outcome in outcomes] == [200] * 4
    assert kinds(server) == ["none", "token", "prepaid", "prepaid", "prepaid"]
    for _, *stamps in solutions(server)[2:]:
        assert sum(1 << Stamp.parse(stamp).bits for stamp in stamps) == 1024


def test_from_the_second_request_on_stamps_are_minted_while_the_program_is_idle(server: PowServer) -> None:
    outcomes = queries(server, 4, waiting=1_500)

    assert [bool(outcome["reports"]) for outcome in outcomes] == [True, True, False, False]
    assert kinds(server)[2:] == ["prepaid"] * 3


def test_without_workers_the_next_request_mints_its_own_stamps(server: PowServer) -> None:
    outcomes = queries(server, 4, waiting=100, workers=0)

    assert all(outcome["reports"] for outcome in outcomes)
    assert kinds(server)[2:] == ["prepaid"] * 3


TOKENS = """
    let made = 0;
    const token = async () => `e30.${made++}.sig`;
    const outcomes = [];
    for (let number = 0; number < 4; number++) {
      const answer = await powFetch(url, { method: "POST", body: String(number), token });
      outcomes.push(await answer.text());
      await pause(100);
    }
    return outcomes;
"""


def test_a_fresh_token_goes_with_each_sending_and_stamps_name_the_subject_that_the_server_announces(
    server: PowServer,
) -> None:
    server.subject = "Nq0x5cUWkkyQb0hXx1mHqg"
    assert run_in_node(TOKENS, url=f"{server.url}/named") == ["0", "1", "2", "3"]
    assert kinds(server) == ["none", "token", "prepaid", "prepaid", "prepaid"]
    assert [request.headers["pow-identity"] for request in server.requests] == [f"e30.{n}.sig" for n in range(5)]
    assert {Stamp.parse(stamps[1]).resource for stamps in solutions(server)[2:]} == {f"echo@9f2c41/{server.subject}"}
    assert not any(request.key for request in server.requests)


def test_a_subject_that_changes_costs_one_challenge(server: PowServer) -> None:
    changing = """
        const outcomes = [];
        for (let number = 0; number < 5; number++) {
          if (number === 2) await fetch(rename, { method: "POST", body: "another" });
          const answer = await powFetch(url, { method: "POST", body: String(number), token: "e30.e30.sig" });
          outcomes.push(answer.status);
        }
        return outcomes;
    """
    server.subject = "first"
    assert run_in_node(changing, url=f"{server.url}/named", rename=f"{server.url}/rename") == [200] * 5
    sent = [kind for kind, request in zip(kinds(server), server.requests, strict=True) if request.path == "/named"]
    assert sent == ["none", "token", "prepaid", "prepaid", "token", "prepaid", "prepaid"]


def test_a_key_and_a_token_together_and_a_token_that_cannot_be_sent_are_refused(server: PowServer) -> None:
    both = """
        const names = [];
        for (const options of [{ key: "k", token: "t" }, { token: "a\\nb" }, { token: () => "" }]) {
          await powFetch(url, { method: "POST", body: "0", ...options }).catch(({ name }) => names.push(name));
        }
        return names;
    """
    assert run_in_node(both, url=f"{server.url}/named") == ["UnusableKey"] * 3
    assert server.requests == []


def test_stamps_have_the_size_of_the_server_s_own(server: PowServer) -> None:
    server.bits, server.count, server.price = 8, 4, 1024
    queries(server, 3, waiting=300)

    for _, *stamps in solutions(server)[-2:]:
        assert [Stamp.parse(stamp).bits for stamp in stamps] == [8] * 4


def test_prepaying_can_be_declined(server: PowServer) -> None:
    queries(server, 3, prepay=False)

    assert kinds(server) == ["none", "token"] * 3


def test_a_price_beyond_the_limit_waits_for_the_challenge(server: PowServer) -> None:
    server.announced = 1 << 33
    queries(server, 3)

    assert kinds(server) == ["none", "token"] * 3


def test_stamps_bear_the_server_s_time(server: PowServer) -> None:
    server.ahead = 86_400.0
    queries(server, 2)
    for stamp in solutions(server)[-1][1:]:
        assert abs(calendar.timegm(time.strptime(Stamp.parse(stamp).date, "%y%m%d%H%M%S")) - server.now()) < 30


def test_to_stamps_that_were_too_little_the_rest_is_solved_and_sent_alone(server: PowServer) -> None:
    server.announced = 512
    outcomes = queries(server, 2)

    assert outcomes[1]["status"] == 200
    prepaid, rest = solutions(server)[-2:]
    assert prepaid[0] == "prepaid"
    assert not set(prepaid) & set(rest)
    assert Challenge.from_token(rest[0]).puzzle.expected_hashes == 512


def test_the_rest_of_prepaid_stamps_counts_against_the_limit_of_work(server: PowServer) -> None:
    server.announced = 512
    outcomes = queries(server, 2, maxHashes=1024)
    assert outcomes[1]["status"] == 200

    server.announced = 768
    outcomes = run_in_node(
        """
        const query = (options) => powFetch(url, { method: "POST", body: "x", key: "k", ...options });
        await query();
        return query({ maxHashes: 1023 }).catch((error) => [error.name, error.response.status]);
        """,
        url=f"{server.url}/priced",
    )
    assert outcomes == ["WorkLimitExceeded", 402]


def test_a_server_that_does_not_know_whose_stamps_they_are_gets_no_more_of_them(server: PowServer) -> None:
    server.identity = "known by other means"
    outcomes = queries(server, 4, waiting=50)

    assert [outcome["status"] for outcome in outcomes] == [200] * 4
    assert kinds(server).count("prepaid") == 1


def test_a_server_without_a_date_that_calls_fresh_stamps_old_gets_no_more_of_them(server: PowServer) -> None:
    server.ahead, server.dated = 3000.0, False
    outcomes = queries(server, 4)

    # Challenges have expired by the page's clock as well, which is not known to be the server's.
    assert [outcome["status"] for outcome in outcomes] == [200] * 4
    assert kinds(server).count("prepaid") == 1


def test_stamps_that_are_refused_as_spent_are_replaced_by_a_challenge_and_prepaying_goes_on(server: PowServer) -> None:
    server.spends = True
    outcomes = queries(server, 2)

    assert [outcome["status"] for outcome in outcomes] == [200] * 2
    assert kinds(server) == ["none", "token", "prepaid", "token"]

    server.spends = False
    assert [outcome["status"] for outcome in queries(server, 3)] == [200] * 3
    assert kinds(server)[-2:] == ["prepaid", "prepaid"]


def test_requests_side_by_side_have_different_stamps(server: PowServer) -> None:
    outcomes = run_in_node(
        """
        const query = async (body) => (await powFetch(url, { method: "POST", body, key: "k" })).status;
        for (let number = 0; number < 3; number++) await query(String(number));
        await pause(1500);
        return Promise.all(Array.from({ length: 10 }, (_, number) => query(`side by side ${number}`)));
        """,
        url=f"{server.url}/priced",
    )

    assert outcomes == [200] * 10
    assert kinds(server)[-10:] == ["prepaid"] * 10
    stamps = [stamp for _, *stamps in solutions(server)[-10:] for stamp in stamps]
    assert len(set(stamps)) == len(stamps)


def test_stamps_are_for_the_key_that_they_are_sent_with(server: PowServer) -> None:
    run_in_node(
        """
        for (const key of ["one", "two", "one", "two"]) {
          await powFetch(url, { method: "POST", body: "same", headers: { "X-Api-Key": key } });
        }
        """,
        url=f"{server.url}/priced",
    )

    assert kinds(server) == ["none", "token", "none", "token", "prepaid", "prepaid"]
    resources = [Stamp.parse(parts[1]).resource for parts in solutions(server)[-2:]]
    assert len(set(resources)) == 2


def test_a_request_that_is_cancelled_before_it_is_sent_leaves_its_stamps_to_the_next(server: PowServer) -> None:
    outcome = run_in_node(
        """
        const query = (options) => powFetch(url, { method: "POST", body: "x", key: "k", ...options });
        for (let number = 0; number < 2; number++) await query();
        await pause(1500);
        const cancelled = await query({ signal: AbortSignal.abort() }).catch((error) => error.name);
        let works = 0;
        await query({ onProgress: () => works++ });
        return [cancelled, works];
        """,
        url=f"{server.url}/priced",
    )

    assert outcome == ["AbortError", 0]


def test_a_program_ends_although_stamps_are_being_minted(server: PowServer) -> None:
    server.announced = 1 << 31
    begun = time.monotonic()
    run_in_node(
        """
        await powFetch(url, { method: "POST", body: "0", key: "k" });
        await powFetch(url, { method: "POST", body: "1", key: "k", maxHashes: 1 << 20 });
        await powFetch(url, { method: "POST", body: "2", key: "k", maxHashes: 1 << 20 });
        """,
        url=f"{server.url}/priced",
    )

    assert time.monotonic() - begun < 4
    assert [outcome["status"] for outcome in queries(server, 1)] == [200]
