"""Paying before being asked: when, with whose date, while idle; and what comes after stamps that were too little."""

import calendar
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone

import pytest
import requests

from calpow.client import PowAuth, WorkLimitExceeded
from calpow.client.prepaid.stamps import Batch, Work
from calpow.client.prepaid.wallet import _MOST_URLS, IDLE_SECONDS, Purse, _Account, _prepayment, _stocked
from calpow.client.protocol.reply import Reply
from calpow.puzzle.algorithms import ScryptCost
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.solver import Progress
from calpow.puzzle.stamp import Stamp
from calpow.puzzle.wire import SOLUTION_HEADER, Challenge, www_authenticate
from tests.client.test_promises import Solved, asker
from tests.support.askers import Answer, Ask, Asker
from tests.support.pow_server import PowServer, running

__all__ = ["asker"]

KEY = "cp_1_secret"
WORK = Work("digits@9f2c41/0123456789abcdef", "hashcash-sha1", None, 31)
SCRYPT = Work("digits@9f2c41/0123456789abcdef", "scrypt", ScryptCost(2, 1, 1), 31)


@pytest.fixture
def server() -> Iterator[PowServer]:
    with running(PowServer()) as server:
        yield server


def until(ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


def minters() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "calpow-minter"]


def paid(answer: Answer) -> list[Stamp]:
    """The stamps that came with an answer's request, or its last one."""
    return [Stamp.parse(text) for text in (answer.solution or "").split()[1:]]


def hashes(answer: Answer) -> int:
    return sum(1 << stamp.bits for stamp in paid(answer))


def queries(ask: Ask, server: PowServer, count: int, first: int = 0) -> list[Answer]:
    """Different payloads, so that each has a challenge of its own."""
    return [ask(f"{server.url}/priced", b"%d" % number) for number in range(first, first + count)]


def test_who_knows_the_price_pays_with_the_first_request(asker: Asker, server: PowServer) -> None:
    with asker.asking() as ask:
        answers = queries(ask, server, 4)
    assert [answer.history for answer in answers] == [[402], [], [], []]
    assert [hashes(answer) for answer in answers] == [1024] * 4


def test_whoever_asks_once_has_nothing_minted(asker: Asker, server: PowServer) -> None:
    solved = Solved()
    with asker.asking(progress=solved) as ask:
        queries(ask, server, 1)
        assert minters() == []
    assert solved.begun == 1


def test_from_the_second_request_on_stamps_are_minted_while_the_client_is_idle(asker: Asker, server: PowServer) -> None:
    waited_for = Solved()
    with asker.asking(progress=waited_for) as ask:
        queries(ask, server, 2)
        begun = waited_for.begun
        for number in range(2, 5):
            until(lambda: not minters())
            assert queries(ask, server, 1, first=number)[0].history == []
        assert waited_for.begun == begun


def test_a_request_that_comes_before_the_stock_is_full_takes_what_is_there(server: PowServer) -> None:
    server.price = 16 << 14
    url, auth = f"{server.url}/priced", PowAuth(KEY)
    with requests.Session() as session:
        session.auth = auth
        for number in range(2):
            session.post(url, data=b"%d" % number, timeout=30)
        until(lambda: stock(auth, url))
        held = stock(auth, url)[0].stamps
        answer = session.post(url, data=b"2", timeout=30)
    assert answer.history == []
    assert set(held) < set(str(answer.request.headers[SOLUTION_HEADER]).split())


def stock(auth: PowAuth, url: str) -> tuple[Batch, ...]:
    account = auth._payer.purse._account(url)
    assert account is not None
    return account.stock


def test_stamps_bear_the_server_s_time(asker: Asker, server: PowServer) -> None:
    server.ahead = 86_400.0
    with asker.asking() as ask:
        queries(ask, server, 2)
        until(lambda: not minters())
        (answer,) = queries(ask, server, 1, first=2)
    for stamp in paid(answer):
        assert abs(calendar.timegm(time.strptime(stamp.date, "%y%m%d%H%M%S")) - server.now()) < 30


def test_to_stamps_that_were_too_little_the_rest_is_solved_and_sent_alone(asker: Asker, server: PowServer) -> None:
    with asker.asking(max_hashes=1536) as ask:
        queries(ask, server, 1)
        server.price = 1536
        (answer,) = queries(ask, server, 1, first=1)
        assert (answer.status, answer.history) == (200, [402])
        prepaid, rest = (str(seen.headers["pow-solution"]).split() for seen in server.seen[-2:])
        assert prepaid[0] == "prepaid"
        assert not set(prepaid) & set(rest)
        assert Challenge.from_token(rest[0]).puzzle.expected_hashes == 512
        assert [after.history for after in queries(ask, server, 3, first=2)] == [[]] * 3


def test_the_rest_of_prepaid_stamps_counts_against_the_limit_of_work(asker: Asker, server: PowServer) -> None:
    solved = Solved()
    with asker.asking(max_hashes=1535, progress=solved) as ask:
        queries(ask, server, 1)
        server.price = 1536
        with pytest.raises(WorkLimitExceeded, match="about 1,536 hashes, more than the limit of 1,535"):
            queries(ask, server, 1, first=1)
    assert solved.begun == 2


def test_the_rest_of_an_answer_that_was_prepaid_and_withheld_is_paid(asker: Asker, server: PowServer) -> None:
    with asker.asking() as ask:
        queries(ask, server, 1)
        server.due = 4096
        answer = ask(f"{server.url}/dear", b"1")
    assert (answer.content, answer.history) == (b"1", [402, 402])
    assert server.passes == 3


def test_several_samples_at_once_are_prepaid_as_one_and_their_rest_is_paid(asker: Asker, server: PowServer) -> None:
    with asker.asking() as ask:
        queries(ask, server, 1)
        server.price, server.announced = 8 * 1024, 1024
        answers = queries(ask, server, 3, first=1)
    assert [answer.history for answer in answers] == [[402]] * 3
    rests = [Challenge.from_token(str(answer.solution).split()[0]).puzzle.expected_hashes for answer in answers]
    assert rests == [7 * 1024] * 3


def test_stamps_that_were_sent_before_are_followed_by_a_challenge_and_by_new_stamps(
    asker: Asker, server: PowServer
) -> None:
    with asker.asking() as ask:
        queries(ask, server, 1)
        server.spends = True
        (answer,) = queries(ask, server, 1, first=1)
        assert (answer.status, answer.history) == (200, [402])
        assert not str(answer.solution).startswith("prepaid ")
        server.spends = False
        assert [after.history for after in queries(ask, server, 3, first=2)] == [[]] * 3


def test_a_server_that_does_not_know_whose_stamps_they_are_gets_no_more_of_them(
    asker: Asker, server: PowServer
) -> None:
    server.identity = "known by other means"
    with asker.asking() as ask:
        answers = queries(ask, server, 6)
        assert minters() == []
    assert [answer.status for answer in answers] == [200] * 6
    assert [answer.history for answer in answers] == [[402]] * 6
    assert prepaid_requests(server) == 1


def prepaid_requests(server: PowServer) -> int:
    return sum(seen.headers.get("pow-solution", "").startswith("prepaid ") for seen in server.seen)


def test_a_server_without_a_date_that_calls_fresh_stamps_old_gets_no_more_of_them(
    asker: Asker, server: PowServer
) -> None:
    server.ahead, server.dated = 3000.0, False
    with asker.asking() as ask:
        answers = queries(ask, server, 8)
        assert minters() == []
    assert [answer.status for answer in answers] == [200] * 8
    assert prepaid_requests(server) == 1


def test_a_server_whose_clock_is_set_is_believed_again(asker: Asker, server: PowServer) -> None:
    with asker.asking() as ask:
        queries(ask, server, 2)
        server.ahead = 3000.0
        answers = queries(ask, server, 8, first=2)
    assert {answer.status for answer in answers} == {200}
    assert answers[-1].history == []


def test_stamps_are_thrown_away_before_they_go_stale(server: PowServer) -> None:
    with requests.Session() as session:
        session.auth = auth = PowAuth(KEY)
        for number in range(2):
            session.post(f"{server.url}/priced", data=b"%d" % number, timeout=30)
        until(lambda: not minters())
        auth._payer.purse._change(
            f"{server.url}/priced",
            lambda account: replace(account, stock=tuple(replace(each, stale_at=0.0) for each in account.stock)),
        )
        prepayment = auth._payer.purse.order(f"{server.url}/priced")
    assert prepayment is not None
    assert prepayment.stamps == ()
    assert prepayment.puzzle is not None
    assert prepayment.puzzle.expected_hashes == 1024


def test_work_that_is_not_modest_is_not_done_for_nobody(server: PowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calpow.client.prepaid.wallet.IDLE_SECONDS", 0.2)
    url, auth = f"{server.url}/priced", PowAuth(KEY)
    for number in range(2):
        requests.post(url, data=b"%d" % number, auth=auth, timeout=30)
    until(lambda: not minters())
    purse = auth._payer.purse
    purse._change(url, lambda account: replace(account, next_hashes=16 << 22))
    purse.mint_meanwhile(url)
    assert minters()
    until(lambda: not minters())
    purse.mint_meanwhile(url)
    assert minters() == []


def test_a_price_within_the_limit_that_stamps_would_exceed_is_left_to_the_challenge(server: PowServer) -> None:
    auth = PowAuth(KEY, max_hashes=1000)
    server.price = server.announced = 1000  # a challenge of 992, and stamps of 1024
    for number in range(3):
        response = requests.post(f"{server.url}/priced", data=b"%d" % number, auth=auth, timeout=30)
        assert [response.status_code, len(response.history)] == [200, 1]
        until(lambda: not minters())


def test_the_url_that_was_asked_least_lately_is_forgotten_first() -> None:
    purse = Purse("cp_1_secret", 1 << 20)
    for number in range(2 * _MOST_URLS):
        purse._put("http://a/often", _Account(WORK))
        purse._put(f"http://a/{number}", _Account(WORK))
    assert len(purse._known) == _MOST_URLS
    assert {"http://a/often", f"http://a/{_MOST_URLS + 2}"} <= purse._known.keys()
    assert "http://a/0" not in purse._known


def test_stamps_minted_while_another_kind_came_to_be_asked_for_are_not_sent() -> None:
    minted = Batch(("stamp",), 1024, time.monotonic() + 60)
    account = _Account(replace(WORK, resource="digits@00ffee/0123456789abcdef"), next_hashes=1024)
    assert _stocked(account, WORK, minted).stock == ()
    assert _stocked(account, replace(account.work, most=7), minted).stock == (minted,)


def test_an_answer_is_handed_over_also_where_no_thread_can_be_started(
    server: PowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        if thread.name == "calpow-minter":
            raise RuntimeError("can't start new thread")
        start(thread)

    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", refuse)
    auth = PowAuth(KEY)
    for number in range(3):
        body = b"%d" % number
        assert requests.post(f"{server.url}/priced", data=body, auth=auth, timeout=30).content == body


def test_nothing_is_minted_for_a_price_beyond_the_limit(asker: Asker, server: PowServer) -> None:
    server.announced = 1 << 33
    with asker.asking() as ask:
        assert [answer.history for answer in queries(ask, server, 3)] == [[402]] * 3
        assert minters() == []


def test_a_fork_s_child_has_its_own_stamps(server: PowServer) -> None:
    with requests.Session() as session:
        session.auth = auth = PowAuth(KEY)
        url = f"{server.url}/priced"
        for number in range(3):
            session.post(url, data=b"%d" % number, timeout=30)
        until(lambda: not minters())
        pid = os.fork()
        if pid == 0:  # nothing but an exit code may leave the child
            code = 1
            try:
                answers = [requests.post(url, data=b"child %d" % n, auth=auth, timeout=30) for n in range(3)]
                code = 0 if [(each.status_code, len(each.history)) for each in answers] == [(200, 0)] * 3 else 2
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert session.post(url, data=b"parent", timeout=30).history == []


def test_minting_keeps_no_program_from_ending(server: PowServer) -> None:
    program = f"""
import threading, requests
from calpow.client import PowAuth
with requests.Session() as session:
    session.auth = PowAuth("{KEY}")
    for number in range(2):
        session.post("{server.url}/priced", data=b"%d" % number, timeout=30).raise_for_status()
        input()
print([thread.name for thread in threading.enumerate()])
"""
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    until(lambda: len(server.seen) == 2)
    time.sleep(0.2)
    server.announced = 16 << 23
    print(file=child.stdin, flush=True)
    until(lambda: len(server.seen) == 3)
    time.sleep(0.2)
    began = time.monotonic()
    output, errors = child.communicate("\n", timeout=30)
    assert time.monotonic() - began < IDLE_SECONDS  # it may be compiling, which cannot be stopped
    assert ("calpow-minter" in output, errors, child.returncode) == (True, "", 0)


@pytest.mark.parametrize("hashes", [1, 2, 3, 31, 32, 1024, 27 << 9, (27 << 9) + 1, 10**9])
@pytest.mark.parametrize("room", [1, 7, 31])
def test_a_puzzle_pays_what_is_asked_and_hardly_more(hashes: int, room: int) -> None:
    puzzle = WORK.puzzle(hashes, room)
    assert puzzle is not None
    assert puzzle.count <= room
    assert hashes <= puzzle.expected_hashes <= max(2 * hashes, hashes * (1 + 2 / (room + 1)) + 2)


def test_what_the_server_s_own_puzzles_ask_is_met_exactly() -> None:
    for bits in range(1, 41):
        for count in range(16, 32):
            assert WORK.puzzle(count << bits, 31) == Puzzle(WORK.algorithm, WORK.resource, bits, count)


@pytest.mark.parametrize("held", [0, 1, 20, 30, 31])
def test_there_are_never_more_stamps_than_a_server_reads(held: int) -> None:
    stock = (Batch(("stamp",) * held, held << 9, time.monotonic() + 500),)
    prepayment = _prepayment(_Account(SCRYPT, next_hashes=64 << 9, stock=stock))
    assert prepayment.puzzle is not None
    assert len(prepayment.stamps) == (held if held < 31 else 0)
    assert len(prepayment.stamps) + prepayment.puzzle.count <= 31
    assert prepayment.hashes >= 64 << 9


def test_the_small_challenge_of_a_rest_does_not_change_how_many_stamps_a_server_reads() -> None:
    purse = Purse("cp_1_secret", 1 << 20)
    reply = Reply(402, {"www-authenticate": www_authenticate("digits@9f2c41", "e30.e30.c2ln")})
    for count in (16, 2):
        puzzle = Puzzle(SCRYPT.algorithm, "5f0c", 1, count, SCRYPT.cost)
        challenge = Challenge("e30.e30.c2ln", puzzle, datetime.now(timezone.utc))
        purse.saw_challenge("http://a/x", reply, challenge, prepaid=count == 2)
    assert purse._known["http://a/x"].work.most == 31


def test_a_payment_fits_into_a_header(server: PowServer) -> None:
    with requests.Session() as session:
        session.auth = PowAuth(KEY)
        for number in range(4):
            server.price = (16 + 5 * number) << 6
            answer = session.post(f"{server.url}/priced", data=b"%d" % number, timeout=30)
            assert len(str(answer.request.headers[SOLUTION_HEADER])) < 7000


def test_progress_of_minting_before_asking_is_told(asker: Asker, server: PowServer) -> None:
    told: list[Progress] = []
    with asker.asking(progress=told.append) as ask:
        queries(ask, server, 1)
        told.clear()
        queries(ask, server, 1, first=1)
    assert told[-1].found == told[-1].count == 16
