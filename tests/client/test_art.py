"""A protected model as a black-box classifier of the Adversarial Robustness Toolbox."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import requests
import torch
from art.attacks.extraction import KnockoffNets
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import nn
from torch.optim import Adam

from calpow.client import AnswerUnreadable, ClientError, TimeLimitExceeded, WorkLimitExceeded
from calpow.client.art import ProtectedClassifier, QueryCosts
from calpow.puzzle.installation import install_command
from tests.support.guarded import Site
from tests.support.pow_server import PowServer

KEY = "cp_1_secret"
SAMPLES = np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.0, 0.25, 0.75]], np.float32)


def as_json(sample: NDArray[np.float32]) -> list[float]:
    """Return a sample as JSON, which the tests' server sends back as its answer."""
    numbers: list[float] = sample.tolist()
    return numbers


def victim_of(server: PowServer, path: str = "paid", **options: Any) -> ProtectedClassifier:
    arguments: dict[str, Any] = {"key": KEY, "classes": 3, "input_shape": (3,), "encode": as_json, **options}
    return ProtectedClassifier(f"{server.url}/{path}", **arguments)


def test_every_sample_is_paid_for_and_counted(server: PowServer) -> None:
    victim = victim_of(server)
    assert victim.spent == QueryCosts(0, 0, 0.0)
    np.testing.assert_array_equal(victim.predict(SAMPLES), SAMPLES)
    assert victim.spent.queries == 3
    assert victim.spent.hashes == 3 * (server.count << server.bits)
    assert victim.spent.seconds > 0
    assert all(request.headers["x-api-key"] == KEY for request in server.requests)
    assert server.connections == 1


def test_what_was_bought_is_kept(server: PowServer) -> None:
    victim = victim_of(server)
    samples, scores = victim.bought
    assert (samples.shape, scores.shape) == ((0, 3), (0, 3))
    victim.predict(SAMPLES[:2])
    victim.predict(SAMPLES[2:])
    samples, scores = victim.bought
    np.testing.assert_array_equal(samples, SAMPLES)
    np.testing.assert_array_equal(scores, SAMPLES)


def test_an_attack_ends_where_its_work_does(server: PowServer) -> None:
    answer = server.count << server.bits
    victim = victim_of(server, max_hashes=2 * answer + 1)
    with pytest.raises(WorkLimitExceeded) as caught:
        victim.predict(SAMPLES)
    assert isinstance(caught.value, requests.RequestException)
    assert (victim.spent.queries, victim.spent.hashes) == (2, 2 * answer)
    assert len(victim.bought[0]) == 2


def test_prepaid_stamps_count_and_nothing_is_sent_beyond_the_limit(server: PowServer) -> None:
    server.price = 512
    victim = victim_of(server, "priced", max_hashes=8 * 512)
    with pytest.raises(WorkLimitExceeded):
        victim.predict(np.repeat(SAMPLES, 20, axis=0))
    assert 4 <= victim.spent.queries <= 8
    sent = len(server.requests)
    with pytest.raises(WorkLimitExceeded):
        victim.predict(np.repeat(SAMPLES, 20, axis=0))
    assert len(server.requests) <= sent + 1


def test_an_attack_ends_where_its_time_does(server: PowServer) -> None:
    server.seconds = 0.02
    victim = victim_of(server, "sleepy", max_seconds=0.1)
    with pytest.raises(TimeLimitExceeded) as caught:
        victim.predict(np.repeat(SAMPLES, 20, axis=0))
    assert isinstance(caught.value, requests.RequestException)
    assert 1 <= victim.spent.queries <= 5


def test_a_payload_may_be_bytes(server: PowServer) -> None:
    victim = victim_of(server, encode=lambda sample: b"[1, 2, 3]")
    assert victim.predict(SAMPLES[:1]).tolist() == [[1, 2, 3]]
    assert server.requests[-1].body == b"[1, 2, 3]"


@pytest.mark.parametrize(
    ("answer", "scores"),
    [({"cat": 0.75, "emu": 0.25}, [0.75, 0.0, 0.25]), ({}, [0, 0, 0]), ([3, 2, 1], [3, 2, 1]), (2, [0, 0, 1])],
)
def test_answers_by_class_name_by_place_and_of_one_class_are_read(
    server: PowServer, answer: object, scores: Sequence[float]
) -> None:
    victim = victim_of(server, "free", classes=("cat", "dog", "emu"), encode=lambda sample: answer)
    assert victim.predict(SAMPLES[:1]).tolist() == [scores]


@pytest.mark.parametrize("answer", [b"no JSON", [1, 2], {"yak": 1}, "cat", 3, -1, None, [[1, 2, 3]]])
def test_an_answer_without_scores_is_an_error_with_its_response(server: PowServer, answer: object) -> None:
    victim = victim_of(server, "free", classes=("cat", "dog", "emu"), encode=lambda sample: answer)
    with pytest.raises(AnswerUnreadable, match="no scores of 3 classes") as caught:
        victim.predict(SAMPLES[:1])
    assert caught.value.response.status_code == 200
    assert victim.spent.queries == 0


def test_an_answer_is_read_as_told(server: PowServer) -> None:
    victim = victim_of(server, encode=lambda sample: {"p": sample.tolist()}, decode=lambda answer: answer["p"])
    np.testing.assert_array_equal(victim.predict(SAMPLES), SAMPLES)


def test_a_response_that_is_no_answer_is_an_http_error(server: PowServer) -> None:
    victim = victim_of(server, "picky", encode=lambda sample: b"bad")
    with pytest.raises(requests.HTTPError, match="400"):
        victim.predict(SAMPLES[:1])
    assert victim.spent.queries == 0


def test_errors_of_paying_are_those_of_the_client(server: PowServer) -> None:
    with pytest.raises(ClientError):
        victim_of(server, key="two\nlines")


def test_an_attack_of_art_steals_a_model_that_is_served(site: Site) -> None:
    rng = np.random.default_rng(0)
    victim = ProtectedClassifier(
        site.server.url("vector"),
        key=site.key("art"),
        classes=4,
        input_shape=(4,),
        encode=lambda sample: ",".join(f"{number:.6f}" for number in sample).encode(),
        decode=lambda answer: int(answer["class"]),
    )
    torch.manual_seed(0)
    network = nn.Linear(4, 4)
    optimizer = Adam(network.parameters(), lr=0.1)
    copy = PyTorchClassifier(network, nn.CrossEntropyLoss(), (4,), 4, optimizer=optimizer, device_type="cpu")
    attack = KnockoffNets(victim, nb_stolen=25, nb_epochs=40, batch_size_fit=25, verbose=False)
    attack.extract(rng.random((25, 4)), thieved_classifier=copy)
    assert victim.spent.queries == 25
    assert victim.spent.hashes >= 25 * 200
    assert site.history("art").queries == 25
    unseen = rng.random((200, 4)).astype(np.float32)
    assert (copy.predict(unseen).argmax(1) == unseen.argmax(1)).mean() > 0.6


@pytest.mark.parametrize("missing", ["art", "numpy"])
def test_what_is_missing_is_named_with_the_command_that_brings_it(missing: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; import calpow.client.art"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert last == f"ModuleNotFoundError: calpow.client.art needs {missing}: {install_command('art')}"
