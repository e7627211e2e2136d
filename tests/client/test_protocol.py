"""The protocol's core, which sees no network: whatever a server says, it does a named thing within its limits."""

import base64
import json
import threading
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calpow.client.errors import (
    Cancelled,
    ClientError,
    HeadersDropped,
    TimeLimitExceeded,
    WorkLimitExceeded,
)
from calpow.client.protocol.exchange import MAX_WAITS, MOST_SECONDS_A_REFUSAL, Exchange, Limits, Payer, Solve, Wait
from calpow.client.protocol.origin import leads_home, same_origin
from calpow.client.protocol.reply import Reply
from calpow.client.protocol.work import pause, perform
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.wire import Challenge, www_authenticate

URL = "http://127.0.0.1/predictions/digits"
REALM = "digits@9f2c41"
NOW = datetime.now(timezone.utc).replace(microsecond=0)


def challenge(identity: str = "5f0c", bits: int = 1, count: int = 2, seconds: float = 60) -> Challenge:
    claims = base64.urlsafe_b64encode(json.dumps({"jti": identity}).encode()).rstrip(b"=").decode()
    return Challenge(
        f"e30.{claims}.c2ln", Puzzle("hashcash-sha1", identity, bits, count), NOW + timedelta(seconds=seconds)
    )


def asked(kind: str = "pow-required", date: datetime | None = NOW, **size: object) -> Reply:
    made = challenge(**size)  # type: ignore[arg-type]
    body = {"type": f"urn:calpow:problem:{kind}", "status": 402, "challenge": made.to_document()}
    headers = {"www-authenticate": www_authenticate(REALM, made.token)}
    if date is not None:
        headers["date"] = format_datetime(date, usegmt=True)
    return Reply(402, headers, json.dumps(body).encode(), "Payment Required")


def busy(retry_after: str, status: int = 503) -> Reply:
    return Reply(status, {"retry-after": retry_after, "date": format_datetime(NOW, usegmt=True)})


def exchange(**limits: float) -> Exchange:
    return Exchange(Payer("cp_1_secret", Limits(**limits)), URL)  # type: ignore[arg-type]


def solve(asking: Exchange, reply: Reply) -> Solve:
    step = asking.receive(reply)
    assert isinstance(step, Solve)
    perform(asking, step)
    return step


def test_a_challenge_is_solved_and_the_solution_goes_with_the_next_sending() -> None:
    asking = exchange()
    assert asking.start() is None
    assert dict(asking.headers) == {"X-Api-Key": "cp_1_secret"}
    step = solve(asking, asked())
    assert step.puzzle == challenge().puzzle
    token, *stamps = asking.headers["PoW-Solution"].split()
    assert token == challenge().token
    step.puzzle.verify(stamps)
    assert asking.receive(Reply(200, {})) is None


def test_the_lifetime_of_a_challenge_is_the_server_s_word_whatever_the_own_clock_says() -> None:
    for hours in (-1, 0, 1):
        date = NOW + timedelta(hours=hours)
        step = exchange().receive(asked(date=date, seconds=3600 * hours + 60))
        assert isinstance(step, Solve)
        assert step.lifetime == 60


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("7", 7),
        ("0", 1),
        (format_datetime(NOW + timedelta(seconds=9), usegmt=True), 9),
        (format_datetime(NOW - timedelta(seconds=9), usegmt=True), 1),
    ],
)
def test_retry_after_is_seconds_or_a_date(retry_after: str, seconds: float) -> None:
    for status in (429, 503):
        assert exchange().receive(busy(retry_after, status)) == Wait(seconds)


@pytest.mark.parametrize("retry_after", ["", "-1", "1.5", "\u0663", "9" * 30, "Sun", "31"])
def test_a_wait_that_is_unreadable_or_too_long_is_not_begun(retry_after: str) -> None:
    assert exchange().receive(busy(retry_after)) is None


def test_the_waits_of_one_request_are_bounded_together() -> None:
    asking = exchange(max_wait=10)
    assert [asking.receive(busy("4")) for _ in range(3)] == [Wait(4), Wait(4), None]
    asking = exchange(max_wait=1e9)
    waits = [asking.receive(busy("0")) for _ in range(MAX_WAITS + 1)]
    assert waits == [Wait(1)] * MAX_WAITS + [None]


def test_a_solution_is_kept_over_a_wait() -> None:
    asking = exchange()
    solve(asking, asked())
    solution = asking.headers["PoW-Solution"]
    assert asking.receive(busy("1")) == Wait(1)
    assert asking.headers["PoW-Solution"] == solution


def test_seconds_of_all_challenges_of_a_request_count_together() -> None:
    asking = exchange(max_seconds=1)
    step = asking.receive(asked(identity="a"))
    assert isinstance(step, Solve)
    asking.solved(step, ["stamp"], 0.75)
    step = asking.receive(asked("challenge-expired", identity="b"))
    assert isinstance(step, Solve)
    assert step.seconds_left == pytest.approx(0.25, abs=0.1)
    asking.solved(step, ["stamp"], 0.5)
    with pytest.raises(TimeLimitExceeded):
        asking.receive(asked("challenge-expired", identity="c"))


def test_seconds_of_minting_before_asking_count_too() -> None:
    payer = Payer("cp_1_secret", Limits(max_seconds=1))
    payer.purse.saw_challenge(URL, asked(), challenge(), prepaid=False)
    payer.purse.saw_answer(URL, Reply(200, {"pow-next": "64"}))
    asking = Exchange(payer, URL)
    minting = asking.start()
    assert minting is not None
    asking.solved(minting, ["stamp"], 0.75)
    step = asking.again().receive(asked("invalid-solution"))
    assert isinstance(step, Solve)
    assert step.seconds_left == pytest.approx(0.25, abs=0.1)


def test_the_round_trip_of_a_refused_solution_counts_as_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("calpow.client.protocol.exchange.time.monotonic", lambda: now)
    asking = exchange(max_seconds=10)
    asking.receive(asked())
    left: list[float] = []
    for seconds in (0.25, 60.0, 0.0):
        step = asking.receive(asked("more-required")) if left else asking.receive(asked())
        assert isinstance(step, Solve)
        left.append(step.seconds_left)
        asking.solved(step, ["stamp"], 1.0)
        now += seconds
    step = asking.receive(asked("challenge-expired"))
    assert isinstance(step, Solve)
    assert [*left, step.seconds_left] == [10, 8.75, 7.75 - MOST_SECONDS_A_REFUSAL, 5.75]


def test_challenges_are_solved_until_the_limit_of_work() -> None:
    asking = exchange(max_hashes=40)
    for number in range(10):
        solve(asking, asked("invalid-solution", identity=f"{number}"))
    with pytest.raises(WorkLimitExceeded, match="the last solution was refused: Payment Required"):
        asking.receive(asked("invalid-solution"))


def test_the_rest_is_solved_and_sent_alone() -> None:
    asking = exchange()
    solve(asking, asked())
    first = asking.headers["PoW-Solution"].split()
    solve(asking, asked("more-required", identity="0e57"))
    token, *stamps = asking.headers["PoW-Solution"].split()
    assert token == challenge("0e57").token
    assert len(stamps) == 2
    assert not set(first) & {token, *stamps}


def test_a_first_demand_after_a_solution_means_that_the_solution_did_not_arrive() -> None:
    for identity in ("5f0c", "0e57"):
        asking = exchange()
        solve(asking, asked())
        with pytest.raises(HeadersDropped, match="PoW-Solution"):
            asking.receive(asked(identity=identity))


def test_a_first_demand_after_a_redirect_that_left_the_solution_behind_is_solved() -> None:
    asking = exchange()
    solve(asking, asked())
    asking.lose_solution()
    assert isinstance(asking.receive(asked()), Solve)


def test_a_refusal_of_the_same_challenge_for_a_stated_reason_is_no_dropped_header() -> None:
    asking = exchange()
    solve(asking, asked())
    assert isinstance(asking.receive(asked("invalid-solution")), Solve)


def test_without_a_key_nobody_says_that_it_was_dropped() -> None:
    missing = Reply(401, {}, b'{"type": "urn:calpow:problem:identity-missing"}')
    assert Exchange(Payer(None, Limits()), URL).receive(missing) is None


def test_work_and_waiting_can_be_cancelled() -> None:
    cancel, asking = threading.Event(), exchange()
    step = asking.receive(asked(bits=20, count=8))
    assert isinstance(step, Solve)
    cancel.set()
    with pytest.raises(Cancelled):
        perform(asking, step, cancel=cancel)
    threading.Timer(0.1, cancel.set).start()
    cancel.clear()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        pause(30, cancel)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("home", "url", "same"),
    [
        ("http://a/x", "http://a/y?z", True),
        ("http://a/x", "http://A:80/y", True),
        ("http://a/", "https://a/", True),
        ("https://a/", "http://a/", False),
        ("http://a:8080/", "https://a/", False),
        ("http://a/", "http://b/", False),
        ("http://a/", "http://a:81/", False),
        ("http://a/", "http://a.b/", False),
        ("http://a/", "http://a@b/", False),
        ("http://a/", "http://a:port/", False),
        ("http://a/", "//[", False),
    ],
)
def test_a_key_may_go_to_its_origin_and_to_the_same_with_tls(home: str, url: str, same: bool) -> None:
    assert same_origin(home, url) is same


@pytest.mark.parametrize(
    ("location", "home"),
    [
        ("", True),
        ("y", True),
        ("/y", True),
        ("//a/y", True),
        ("http://a//y", True),
        ("//b/y", False),
        ("http://b/y", False),
        ("////b/y", False),
        ("http:////b/y", False),
        ("/\t///b/y", False),
        ("http://[", False),
    ],
)
def test_a_key_stays_behind_where_a_redirect_leads_away_or_nobody_knows_where(location: str, home: bool) -> None:
    assert leads_home("http://a/x", "http://a/x", location) is home


def mangled(document: dict[str, object]) -> st.SearchStrategy[dict[str, object]]:
    """The document with members missing or replaced by anything that JSON can say."""
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
    mangled(challenge().to_document()).flatmap(
        lambda made: problems.map(
            lambda kind: json.dumps({"type": f"urn:calpow:problem:{kind}", "challenge": made}).encode()
        )
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


def complaint(payer: Payer, received: list[Reply]) -> str:
    """What one request comes to, after doing all that is asked of it; only a ClientError may end it."""
    asking = Exchange(payer, URL)
    try:
        step: Solve | Wait | None = asking.start()
        for reply in received:
            if isinstance(step, Solve):
                assert step.puzzle.expected_hashes <= payer.limits.max_hashes
                perform(asking, step)
            step = asking.receive(reply)
    except ClientError as error:
        return str(error) or "\n"
    return ""


@given(st.lists(replies, min_size=1, max_size=8))
def test_no_response_whatsoever_makes_it_raise_anything_but_its_named_errors(received: list[Reply]) -> None:
    payer = Payer("cp_1_secret", Limits(max_hashes=2**12))
    for _ in range(2):  # the second request may pay beforehand, by what the first has learned
        assert complaint(payer, received).isprintable()


@given(st.lists(replies, min_size=40, max_size=40))
def test_whatever_a_server_says_it_ends(received: list[Reply]) -> None:
    asking = exchange(max_hashes=40)
    sent = 0
    try:
        for reply in received:
            step = asking.receive(reply)
            sent += 1
            if step is None:
                break
            if isinstance(step, Solve):
                asking.solved(step, ["stamp"] * step.puzzle.count, 0.0)
    except ClientError:
        pass
    assert sent <= 1 + 20 + MAX_WAITS  # the smallest challenge has two hashes
