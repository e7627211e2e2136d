"""Every adapter pays beforehand once it knows a price, with the server's date, and mints while it is idle."""

import calendar
import time

import pytest

from calpow.client import (
    WorkLimitExceeded,
)
from calpow.puzzle.solving.solver import Progress
from calpow.puzzle.stamp import Stamp
from calpow.puzzle.wire import Challenge
from tests.support.adapters import Adapter, Answer, Post
from tests.support.minting import minting_threads, until
from tests.support.pow_server import PowServer
from tests.support.progress import PuzzleCount


@pytest.fixture(autouse=True)
def no_threads_of_earlier_tests() -> None:
    """A minting thread waits a moment for its next job before it ends."""
    until(lambda: not minting_threads())


def paid(answer: Answer) -> list[Stamp]:
    """The stamps that came with an answer's request, or its last one."""
    return [Stamp.parse(text) for text in (answer.solution or "").split()[1:]]


def hashes(answer: Answer) -> int:
    return sum(1 << stamp.bits for stamp in paid(answer))


def queries(post: Post, server: PowServer, count: int, first: int = 0) -> list[Answer]:
    """Different payloads, so that each has a challenge of its own."""
    return [post(f"{server.url}/priced", b"%d" % number) for number in range(first, first + count)]


def prepaid_requests(server: PowServer) -> int:
    return sum(request.headers.get("pow-solution", "").startswith("prepaid ") for request in server.requests)


def test_a_known_price_is_paid_with_the_first_request(adapter: Adapter, server: PowServer) -> None:
    with adapter.session() as post:
        answers = queries(post, server, 4)
    assert [answer.history for answer in answers] == [[402], [], [], []]
    assert [hashes(answer) for answer in answers] == [1024] * 4


def test_nothing_is_minted_in_the_background_after_the_first_request(adapter: Adapter, server: PowServer) -> None:
    solved = PuzzleCount()
    with adapter.session(progress=solved) as post:
        queries(post, server, 1)
        assert minting_threads() == []
    assert solved.begun == 1


def test_from_the_second_request_on_stamps_are_minted_while_it_is_idle(adapter: Adapter, server: PowServer) -> None:
    foreground = PuzzleCount()
    with adapter.session(progress=foreground) as post:
        queries(post, server, 2)
        begun = foreground.begun
        for number in range(2, 5):
            until(lambda: not minting_threads())
            assert queries(post, server, 1, first=number)[0].history == []
        assert foreground.begun == begun


def test_stamps_bear_the_server_s_time(adapter: Adapter, server: PowServer) -> None:
    server.ahead = 86_400.0
    with adapter.session() as post:
        queries(post, server, 2)
        until(lambda: not minting_threads())
        (answer,) = queries(post, server, 1, first=2)
    for stamp in paid(answer):
        assert abs(calendar.timegm(time.strptime(stamp.date, "%y%m%d%H%M%S")) - server.now()) < 30


def test_to_stamps_that_were_too_little_the_rest_is_solved_and_sent_alone(adapter: Adapter, server: PowServer) -> None:
    with adapter.session(max_hashes=1536) as post:
        queries(post, server, 1)
        server.price = 1536
        (answer,) = queries(post, server, 1, first=1)
        assert (answer.status, answer.history) == (200, [402])
        prepaid, rest = (str(request.headers["pow-solution"]).split() for request in server.requests[-2:])
        assert prepaid[0] == "prepaid"
        assert not set(prepaid) & set(rest)
        assert Challenge.from_token(rest[0]).puzzle.expected_hashes == 512
        assert [after.history for after in queries(post, server, 3, first=2)] == [[]] * 3


def test_the_rest_of_prepaid_stamps_counts_against_the_limit_of_work(adapter: Adapter, server: PowServer) -> None:
    solved = PuzzleCount()
    with adapter.session(max_hashes=1535, progress=solved) as post:
        queries(post, server, 1)
        server.price = 1536
        with pytest.raises(WorkLimitExceeded, match="about 1,536 hashes, more than the limit of 1,535"):
            queries(post, server, 1, first=1)
    assert solved.begun == 2


def test_the_rest_of_an_answer_that_was_prepaid_and_withheld_is_paid(adapter: Adapter, server: PowServer) -> None:
    with adapter.session() as post:
        queries(post, server, 1)
        server.due = 4096
        answer = post(f"{server.url}/dear", b"1")
    assert (answer.content, answer.history) == (b"1", [402, 402])
    assert server.passes == 3


def test_stamps_of_a_request_whose_connection_is_lost_are_not_sent_with_another(
    adapter: Adapter, server: PowServer
) -> None:
    server.refusals = 0
    with adapter.session() as post:
        post(f"{server.url}/lost", b"0")
        server.refusals = 1
        with pytest.raises(adapter.errors):
            post(f"{server.url}/lost", b"1")
        answer = post(f"{server.url}/lost", b"2")
    assert (answer.content, answer.history) == (b"2", [])
    solutions = [str(request.headers["pow-solution"]).split()[1:] for request in server.requests[-2:]]
    assert [len(stamps) for stamps in solutions] == [16, 16]
    assert not set(solutions[0]) & set(solutions[1])


def test_several_samples_at_once_are_prepaid_as_one_and_their_rest_is_paid(adapter: Adapter, server: PowServer) -> None:
    with adapter.session() as post:
        queries(post, server, 1)
        server.price, server.announced = 8 * 1024, 1024
        answers = queries(post, server, 3, first=1)
    assert [answer.history for answer in answers] == [[402]] * 3
    rests = [Challenge.from_token(str(answer.solution).split()[0]).puzzle.expected_hashes for answer in answers]
    assert rests == [7 * 1024] * 3


def test_stamps_that_were_sent_before_are_followed_by_a_challenge_and_by_new_stamps(
    adapter: Adapter, server: PowServer
) -> None:
    with adapter.session() as post:
        queries(post, server, 1)
        server.spends = True
        (answer,) = queries(post, server, 1, first=1)
        assert (answer.status, answer.history) == (200, [402])
        assert not str(answer.solution).startswith("prepaid ")
        server.spends = False
        assert [after.history for after in queries(post, server, 3, first=2)] == [[]] * 3


def test_a_server_that_does_not_know_whose_stamps_they_are_gets_no_more_of_them(
    adapter: Adapter, server: PowServer
) -> None:
    server.identity = "known by other means"
    with adapter.session() as post:
        answers = queries(post, server, 3)
        until(lambda: not minting_threads())
        answers += queries(post, server, 3, first=3)
        assert minting_threads() == []
    assert [answer.status for answer in answers] == [200] * 6
    assert [answer.history for answer in answers] == [[402]] * 6
    assert prepaid_requests(server) == 1


def test_a_server_without_a_date_that_calls_fresh_stamps_old_gets_no_more_of_them(
    adapter: Adapter, server: PowServer
) -> None:
    server.ahead, server.dated = 3000.0, False
    with adapter.session() as post:
        answers = queries(post, server, 3)
        until(lambda: not minting_threads())
        answers += queries(post, server, 5, first=3)
        assert minting_threads() == []
    assert [answer.status for answer in answers] == [200] * 8
    assert prepaid_requests(server) == 1


def test_a_server_whose_clock_is_set_is_believed_again(adapter: Adapter, server: PowServer) -> None:
    with adapter.session() as post:
        queries(post, server, 2)
        server.ahead = 3000.0
        answers = queries(post, server, 8, first=2)
    assert {answer.status for answer in answers} == {200}
    assert answers[-1].history == []


def test_nothing_is_minted_for_a_price_beyond_the_limit(adapter: Adapter, server: PowServer) -> None:
    server.announced = 1 << 33
    with adapter.session() as post:
        assert [answer.history for answer in queries(post, server, 3)] == [[402]] * 3
        assert minting_threads() == []


def test_progress_of_minting_before_asking_is_reported(adapter: Adapter, server: PowServer) -> None:
    reports: list[Progress] = []
    with adapter.session(progress=reports.append) as post:
        queries(post, server, 1)
        reports.clear()
        queries(post, server, 1, first=1)
    assert reports[-1].found == reports[-1].count == 16
