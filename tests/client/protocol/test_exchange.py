"""The protocol without a network: for any reply, an exchange takes a defined action within its limits."""

import json
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from itertools import cycle, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calpow.client.auth import perform
from calpow.client.caller import Caller
from calpow.client.errors import ClientError, HeadersDropped, TimeLimitExceeded, WorkLimitExceeded
from calpow.client.prepaid.wallet import Wallet
from calpow.client.protocol.budget import MAX_WAITS, Budget, RequestLimits
from calpow.client.protocol.exchange import Exchange, FoundStamps, Send, Solve, Wait, next_action
from calpow.client.reply import Reply
from calpow.puzzle.wire import www_authenticate
from tests.support.replies import NOW, REALM, answer, busy, challenge, demand

KEY = "cp_1_secret"
URL = "http://127.0.0.1/predictions/digits"


class Conversation:
    """An exchange and its next action, `action`; None once it has ended."""

    def __init__(self, exchange: Exchange) -> None:
        self._actions = exchange.run()
        self.action: Solve | Wait | Send | None = next_action(self._actions)

    def solve(self, seconds: float | None = None) -> Send:
        """Solve a puzzle; with `seconds`, pretend to have solved it in that time."""
        assert isinstance(self.action, Solve)
        send = self._proceed(perform(self.action) if seconds is None else FoundStamps(["stamp"], seconds))
        assert isinstance(send, Send)
        return send

    def reply(self, reply: Reply) -> Solve | Wait | Send | None:
        """Reply to the request, after the wait if the action is one."""
        if isinstance(self.action, Wait):
            self._proceed(None)
        assert isinstance(self.action, Send)
        return self._proceed(replace(reply, solution=self.action.headers.get("PoW-Solution")))

    def _proceed(self, result: object) -> Solve | Wait | Send | None:
        self.action = next_action(self._actions, result)
        return self.action


def exchange(key: str | None = KEY, wallet: Wallet | None = None, **limits: float) -> Exchange:
    request_limits = RequestLimits(**limits)  # type: ignore[arg-type]
    return Exchange(Caller(key), URL, wallet or Wallet(key, request_limits.max_hashes), Budget(request_limits))


def first_action(reply: Reply) -> Solve | Wait | Send | None:
    """Return the action of an exchange after its first reply."""
    return Conversation(exchange()).reply(reply)


def solved(reply: Reply) -> Conversation:
    """A conversation that has solved the challenge of its first reply."""
    conversation = Conversation(exchange())
    conversation.reply(reply)
    conversation.solve()
    return conversation


def test_a_challenge_is_solved_and_the_solution_goes_with_the_next_sending() -> None:
    conversation = Conversation(exchange())
    assert conversation.action == Send({"X-Api-Key": KEY})
    solve = conversation.reply(demand())
    assert isinstance(solve, Solve)
    assert solve.puzzle == challenge().puzzle
    send = conversation.solve()
    token, *stamps = send.headers["PoW-Solution"].split()
    assert token == challenge().token
    solve.puzzle.verify(stamps)
    assert conversation.reply(Reply(200, {})) is None


@pytest.mark.parametrize("hours", [-1, 0, 1])
def test_the_lifetime_of_a_challenge_does_not_depend_on_the_client_s_clock(hours: int) -> None:
    solve = first_action(demand(wanted=challenge(seconds=3600 * hours + 60), date=NOW + timedelta(hours=hours)))
    assert isinstance(solve, Solve)
    assert solve.lifetime == 60


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("retry_after", "seconds"), [("7", 7), ("0", 1)])
def test_a_busy_server_is_waited_for_a_second_or_more(status: int, retry_after: str, seconds: float) -> None:
    assert first_action(busy(retry_after, status)) == Wait(seconds)


@pytest.mark.parametrize("retry_after", ["", "-1", "1.5", "\u0663", "9" * 30, "Sun", "31"])
def test_a_wait_that_is_unreadable_or_too_long_is_not_begun(retry_after: str) -> None:
    assert first_action(busy(retry_after)) is None


def test_the_waits_of_one_request_are_bounded_together() -> None:
    conversation = Conversation(exchange(max_wait=10))
    assert [conversation.reply(busy("4")) for _ in range(3)] == [Wait(4), Wait(4), None]


def test_a_solution_is_kept_over_a_wait() -> None:
    conversation = solved(demand())
    send = conversation.action
    assert conversation.reply(busy("1")) == Wait(1)
    assert conversation.reply(busy("1")) == Wait(1)
    conversation._proceed(None)
    assert conversation.action == send


def test_seconds_of_all_challenges_of_a_request_count_together() -> None:
    conversation = Conversation(exchange(max_seconds=1))
    conversation.reply(demand(wanted=challenge("a")))
    conversation.solve(seconds=0.75)
    solve = conversation.reply(demand("challenge-expired", challenge("b")))
    assert isinstance(solve, Solve)
    assert solve.seconds_left == pytest.approx(0.25, abs=0.1)
    conversation.solve(seconds=0.5)
    with pytest.raises(TimeLimitExceeded):
        conversation.reply(demand("challenge-expired", challenge("c")))


def sent_again_in_vain(exchange: Exchange, send: Send) -> Solve | Wait | Send | None:
    """Return the action of an exchange whose request is sent again with the same solution, which is refused."""
    refusal = replace(demand("invalid-solution"), solution=send.headers["PoW-Solution"])
    return next(exchange.again().proceed(refusal))


def wallet_that_knows_a_price() -> Wallet:
    wallet = Wallet(KEY, 1 << 20)
    wallet.learn_from_challenge(URL, demand(), challenge())
    wallet.learn_from_answer(URL, answer(64))
    return wallet


def test_the_work_of_prepaid_stamps_counts_whenever_the_request_is_sent() -> None:
    request = exchange(wallet=wallet_that_knows_a_price(), max_hashes=64 + 3)
    send = Conversation(request).solve(seconds=0.0)
    for _ in range(2):
        with pytest.raises(WorkLimitExceeded, match="about 68 hashes"):
            sent_again_in_vain(request, send)


def test_the_seconds_of_prepaid_stamps_count_whenever_the_request_is_sent() -> None:
    request = exchange(wallet=wallet_that_knows_a_price(), max_seconds=1)
    send = Conversation(request).solve(seconds=0.75)
    for _ in range(2):
        solve = sent_again_in_vain(request, send)
        assert isinstance(solve, Solve)
        assert solve.seconds_left == pytest.approx(0.25, abs=0.1)


def test_challenges_are_solved_until_the_limit_of_work() -> None:
    conversation = Conversation(exchange(max_hashes=40))
    conversation.reply(demand())
    conversation.solve()
    for number in range(9):
        conversation.reply(demand("invalid-solution", challenge(f"{number}")))
        conversation.solve()
    with pytest.raises(WorkLimitExceeded) as caught:
        conversation.reply(demand("invalid-solution"))
    assert caught.value.refusal == "Payment Required"


def test_the_rest_is_solved_and_sent_alone() -> None:
    conversation = solved(demand())
    assert isinstance(conversation.action, Send)
    first = conversation.action.headers["PoW-Solution"].split()
    conversation.reply(demand("more-required", challenge("0e57")))
    token, *stamps = conversation.solve().headers["PoW-Solution"].split()
    assert token == challenge("0e57").token
    assert len(stamps) == 2
    assert not set(first) & {token, *stamps}


@pytest.mark.parametrize("identity", ["5f0c", "0e57"])
def test_a_first_demand_after_a_solution_means_that_the_solution_did_not_arrive(identity: str) -> None:
    conversation = solved(demand())
    with pytest.raises(HeadersDropped, match="PoW-Solution"):
        conversation.reply(demand(wanted=challenge(identity)))


def test_a_first_demand_after_a_redirect_that_left_the_solution_behind_is_solved() -> None:
    conversation = solved(demand())
    assert isinstance(conversation._proceed(demand()), Solve)


def test_a_refusal_of_the_same_challenge_for_a_stated_reason_is_no_dropped_header() -> None:
    assert isinstance(solved(demand()).reply(demand("invalid-solution")), Solve)


def test_without_a_key_a_401_does_not_mean_that_it_was_dropped() -> None:
    missing = Reply(401, {}, b'{"type": "urn:calpow:problem:identity-missing"}')
    assert Conversation(exchange(key=None)).reply(missing) is None
    with pytest.raises(HeadersDropped, match="X-Api-Key"):
        first_action(missing)


def mangled(document: dict[str, object]) -> st.SearchStrategy[dict[str, object]]:
    """Return the document with members missing, or replaced by any JSON value."""
    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner), max_leaves=3
    )
    changes = st.dictionaries(st.sampled_from([*document, "other"]), json_values, max_size=3)
    return changes.map(lambda change: {**document, **change})


problems = st.sampled_from(
    ["pow-required", "more-required", "malformed-solution", "challenge-expired", "challenge-spent", "nonsense"]
)
bodies = st.one_of(
    st.binary(max_size=60),
    st.just(b"[" * 50_000),
    st.builds(
        lambda kind, document: json.dumps({"type": f"urn:calpow:problem:{kind}", "challenge": document}).encode(),
        problems,
        mangled(challenge().to_document()),
    ),
    st.builds(lambda kind: json.dumps({"type": f"urn:calpow:problem:{kind}"}).encode(), problems),
)
header_values = st.one_of(
    st.text(st.characters(min_codepoint=0, max_codepoint=255), max_size=40),
    st.sampled_from(
        [
            www_authenticate(REALM, challenge().token),
            www_authenticate("x" * 200, "a.b.c"),
            format_datetime(NOW, usegmt=True),
            "Mon, 01 Jan 0001 00:00:00 +2359",
            "Fri, 31 Dec 9999 23:59:59 -2359",
            "Fri, 31 Dec 9999 23:59:59 GMT",
            "Mon, 99 Jan 99999 99:99:99 GMT",
            "18446744073709551616",
            "1024",
            "2",
        ]
    ),
)
replies = st.builds(
    Reply,
    status=st.sampled_from([200, 401, 402, 402, 402, 404, 429, 500, 503]),
    headers=st.dictionaries(st.sampled_from(["www-authenticate", "date", "retry-after", "pow-next"]), header_values),
    body=bodies,
    phrase=st.text(max_size=10),
)


def error_message(wallet: Wallet, received: list[Reply]) -> str:
    """Return the error message of one exchange with these replies, or ""; only a ClientError may be raised."""
    try:
        conversation = Conversation(exchange(wallet=wallet, max_hashes=2**12))
        for reply in received:
            if isinstance(conversation.action, Solve):
                assert conversation.action.puzzle.expected_hashes <= 2**12
                conversation.solve()
            if conversation.action is None:
                break
            conversation.reply(reply)
    except ClientError as error:
        return str(error) or "\n"
    return ""


@given(st.lists(replies, min_size=1, max_size=8))
def test_no_response_makes_it_raise_anything_but_its_named_errors(received: list[Reply]) -> None:
    wallet = Wallet(KEY, 2**12)
    for _ in range(2):  # the second request may pay beforehand, by what the first has learned
        assert error_message(wallet, received).isprintable()


@given(st.lists(replies, min_size=1, max_size=5))
def test_an_exchange_ends_for_any_sequence_of_replies(received: list[Reply]) -> None:
    sent = 0
    try:
        conversation = Conversation(exchange(max_hashes=40))
        for reply in islice(cycle(received), 40):
            if conversation.reply(reply) is None:
                break
            sent += 1
            if isinstance(conversation.action, Solve):
                conversation.solve(seconds=0.0)
    except ClientError:
        pass
    assert sent <= 1 + 20 + MAX_WAITS  # the smallest challenge has two hashes
