"""Memory and time are bounded for whoever has no key, does not pay, or pays the least; every way in needs a key."""

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from functools import partial

import grpc
import psutil
import pytest
import requests

from calpow.client import PowAuth
from calpow.puzzle.prepaid import prepaid_resource
from calpow.puzzle.profiles import DEFAULT_PROFILE, PROFILES
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import Challenge, find_realm, format_prepaid, format_solution
from tests.support import grpc_wire
from tests.support.gate_harness import claim_work, solution
from tests.support.guarded import TIMEOUT, Site
from tests.support.pictures import png

VECTOR = b"0.1,0.9,0.3,0.2"
JSON = {"Content-Type": "application/json"}
FORM_TYPE = "application/x-www-form-urlencoded"
FORM = {"Content-Type": FORM_TYPE}
# Both answer alone, without waiting for a batch.
MODELS = ("eager", "headers")
REQUESTS = 1_000
MOST_GROWTH = 40 << 20


class Attacker:
    """Sends what is refused, in every way; each method sends one request and returns its status."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.key = site.key("attacker")
        self.too_many_pixels = png(13_000, 13_000, packed=20)
        self.allowed = png(4_000, 4_000, packed=20)
        self.numbers = json.dumps([[0.123456789] * 1000] * 60).encode()
        self.challenges = {model: Challenge.from_problem(site.raw(model, VECTOR, self.key).content) for model in MODELS}

    def post(self, model: str, payload: bytes | str, headers: Mapping[str, str] | None = None) -> int:
        """Send a request without work."""
        given = {"X-Api-Key": self.key, **(headers or {})}
        return requests.post(self.site.server.url(model), data=payload, headers=given, timeout=TIMEOUT).status_code

    def unpaid(self) -> Iterator[Callable[[str], int]]:
        """Requests that present no work, or none that counts."""
        many_parts = "&".join(f"part{number}=1" for number in range(2000))
        yield lambda model: self.post(model, VECTOR)
        yield lambda model: self.post(model, self.allowed)
        yield lambda model: self.post(model, self.too_many_pixels)
        yield lambda model: self.post(model, self.numbers, {**JSON, "X-Api-Key": ""})
        yield lambda model: self.post(model, self.numbers, {**JSON, "X-Api-Key": "cp_00000000_" + "0" * 48})
        yield lambda model: self.post(model, b'{"instances": [', JSON)
        yield lambda model: self.post(model, "[" * 5000, JSON)
        yield lambda model: self.post(model, "[" * 900 + "]" * 900, JSON)
        yield lambda model: self.post(model, many_parts, FORM)
        yield lambda model: self.post(model, b"", FORM)
        yield lambda model: self.post(model, VECTOR, {f"X-Flood-{number}": "x" * 60 for number in range(80)})
        yield lambda model: self.post(model, VECTOR, {"PoW-Solution": "noise " * 1000})
        yield lambda model: self.post(model, VECTOR, {"PoW-Solution": "prepaid " + "1:9:x:y:0:z:0 " * 400})
        yield lambda model: self.post(model, VECTOR, {"PoW-Solution": claim_work(self.challenges[model])})
        yield self.unpaid_grpc

    def unpaid_grpc(self, model: str) -> int:
        huge = {"body": VECTOR, "X-Api-Key": self.key.encode(), "PoW-Solution": b"x" * 300_000}
        return int(json.loads(grpc_wire.predict(self.site.server.grpc, model, huge))["status"])

    def paid(self) -> Iterator[Callable[[], int]]:
        """Requests that pay what the first sample takes, and that the victim cannot read or answer."""
        auth = PowAuth(self.key)
        for model, payload in (
            ("eager", self.allowed),
            ("eager", b"no picture"),
            ("vector", b"no vector"),
            ("vector", VECTOR + b";raise"),
            ("vector", VECTOR + b";unwritable"),
        ):
            yield partial(self.post_paid, model, payload, auth)

    def post_paid(self, model: str, payload: bytes, auth: PowAuth) -> int:
        """Send a request, do the work that it takes, and send it again."""
        return requests.post(self.site.server.url(model), data=payload, auth=auth, timeout=TIMEOUT).status_code

    def paid_grpc(self) -> int:
        """Send a request whose failure of the victim is an error of gRPC's, not an answer."""
        entries = {"body": VECTOR + b";raise", "more": bytes(5_000_000), "X-Api-Key": self.key.encode()}
        challenge = Challenge.from_problem(grpc_wire.predict(self.site.server.grpc, "vector", entries))
        entries["PoW-Solution"] = format_solution(challenge.token, solve(challenge.puzzle)).encode()
        try:
            grpc_wire.predict(self.site.server.grpc, "vector", entries)
        except grpc.RpcError:
            return 500
        return 200


def attack(attacker: Attacker, rounds: int) -> list[int]:
    """Send about `rounds` requests, as many of every kind, and return the statuses.

    Those of the last kind are few and large: they come alone, because a batch reports failures otherwise.
    """
    unpaid = [(send, model) for send in attacker.unpaid() for model in MODELS]
    paid = list(attacker.paid())
    waves = max(2, rounds // len(unpaid))
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(lambda query: query[0](query[1]), unpaid * waves))
        statuses += list(pool.map(lambda send: send(), paid * (waves // 2)))
    return statuses + [attacker.paid_grpc() for _ in range(waves // 2)]


def worker_pids(site: Site) -> list[int]:
    return [pid for model in (*MODELS, "vector") for pid in site.server.worker_pids(model)]


def test_a_thousand_refused_requests_of_every_kind_leave_the_workers_memory_flat(site: Site) -> None:
    attacker = Attacker(site)
    pids = worker_pids(site)
    attack(attacker, 100)
    before = [psutil.Process(pid).memory_info().rss for pid in pids]
    statuses = attack(attacker, REQUESTS)
    grown = [psutil.Process(pid).memory_info().rss - old for pid, old in zip(pids, before, strict=True)]
    assert len(statuses) >= REQUESTS
    assert set(statuses) == {400, 401, 402, 413, 500, 503}
    assert worker_pids(site) == pids
    assert max(grown) < MOST_GROWTH, grown


def test_failures_of_the_victim_do_not_fill_the_log(site: Site) -> None:
    key = site.key("noisy")
    lengths = []
    for number in range(8):
        assert site.paid("vector", VECTOR + b";raise", key).status_code == 503
        lengths.append(site.server.log().count("a bug of the victim"))
        assert lengths[-1] - lengths[0] <= 1, number


@pytest.mark.parametrize("paying", [False, True])
def test_a_picture_of_too_many_pixels_is_refused_undecoded_and_spends_nothing(site: Site, paying: bool) -> None:
    key = site.key(f"wide-{paying}")
    paid = solution(Challenge.from_problem(site.raw("eager", site.picture, key).content))
    refused = site.raw("eager", png(13_000, 13_000, packed=1), key, paid if paying else None)
    assert (refused.status_code, refused.json()["type"]) == (413, "urn:calpow:problem:too-large")
    assert "50,000,000 pixels" in refused.json()["detail"]
    assert site.raw("eager", site.picture, key, paid).status_code == 200


# ---- Every way in needs a key, and work ------------------------------------------------------------------------------

INPUTS = [
    ("", {"X-Vector": "0.1,0.9,0.1,0.1"}),
    ("/1.0/dear", {}),
    ("", {"Content-Type": f"{FORM_TYPE}; vector=0.1,0,0,0.9"}),
]


@pytest.mark.parametrize(("path", "headers"), INPUTS)
def test_a_description_with_input_of_any_kind_is_a_prediction(
    site: Site, path: str, headers: Mapping[str, str]
) -> None:
    """The handler ignores the header `describe` and takes its input from elsewhere."""
    url, given = site.server.url("headers") + path, {"describe": "True", **FORM, **headers}
    plain = requests.post(site.server.url("headers-plain") + path, data=b"", headers=given, timeout=TIMEOUT)
    assert plain.status_code == 200
    assert requests.post(url, data=b"", headers=given, timeout=TIMEOUT).status_code == 401
    key = site.key(f"describing{path}{len(headers)}")
    unpaid = requests.post(url, data=b"", headers={"X-Api-Key": key, **given}, timeout=TIMEOUT)
    assert (unpaid.status_code, unpaid.json()["type"]) == (402, "urn:calpow:problem:pow-required")
    paid = requests.post(url, data=b"", headers=given, auth=PowAuth(key), timeout=TIMEOUT)
    assert (paid.status_code, paid.content) == (200, plain.content)


def test_a_description_without_input_needs_a_key_and_gives_no_answer_for_it(site: Site) -> None:
    url, given = site.server.url("headers"), {"describe": "True", **FORM}
    assert requests.post(url, data=b"", headers=given, timeout=TIMEOUT).status_code == 401
    given["X-Api-Key"] = site.key("describing nothing")
    refused = requests.post(url, data=b"", headers=given, timeout=TIMEOUT)
    assert (refused.status_code, refused.json()["type"]) == (400, "urn:calpow:problem:bad-payload")


# ---- What a handler can read is bound to its work --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (INPUTS[0], ("", {"X-Vector": "0.9,0.1,0.1,0.1"})),
        (("/1.0/cheap", {}), INPUTS[1]),
        (INPUTS[2], ("", {"Content-Type": f"{FORM_TYPE}; vector=0.9,0,0,0"})),
    ],
)
def test_one_payment_answers_one_query_wherever_the_handler_reads_it(
    site: Site, one: tuple[str, Mapping[str, str]], other: tuple[str, Mapping[str, str]]
) -> None:
    key = site.key(f"reading {one}")

    def ask(query: tuple[str, Mapping[str, str]], work: Mapping[str, str]) -> requests.Response:
        path, headers = query
        given = {"X-Api-Key": key, **headers, **work}
        return requests.post(site.server.url("headers") + path, data=b"", headers=given, timeout=TIMEOUT)

    work = {"PoW-Solution": solution(Challenge.from_problem(ask(one, {}).content))}
    answer = ask(one, work)
    assert answer.status_code == 200
    assert ask(one, work).content == answer.content, "a retry"
    spent = ask(other, work)
    assert (spent.status_code, spent.json()["type"]) == (402, "urn:calpow:problem:challenge-spent")


# ---- Nobody is locked out, and nobody waits for hours ----------------------------------------------------------------


def test_64_unpaid_requests_of_256_samples_of_noise_lock_nobody_out(site: Site) -> None:
    noise = json.dumps([[0.5, -3.0, 7.0, 1e3]] * 256)
    key, other = site.key("noisy tenant"), site.key("noisy tenant")
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda _: requests.post(
                    site.server.url("vector"), data=noise, headers={"X-Api-Key": key, **JSON}, timeout=TIMEOUT
                ),
                range(64),
            )
        )
    assert {answer.status_code for answer in answers} == {402}
    assert not any("Retry-After" in answer.headers for answer in answers)
    expiries = [Challenge.from_problem(answer.content).expires for answer in answers]
    assert max(expiries) <= datetime.now(timezone.utc) + timedelta(hours=1)
    realm = find_realm(answers[0].headers["WWW-Authenticate"]) or ""
    stamps = solve(PROFILES[DEFAULT_PROFILE].kind.puzzle(1000, prepaid_resource(realm, key)))
    assert site.raw("vector", VECTOR, key, format_prepaid(stamps)).status_code == 200
    assert site.paid("vector", b"0.3,0.9,0.3,0.2", other).status_code == 200
    assert site.history("noisy tenant").queries == 2


# ---- Explanations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/explanations/vector", {}),
        ("/v1/models/vector:explain", {}),
        ("/predictions/vector", {"Explain": "true"}),
        ("/invocations?model_name=vector", {"explain": "True"}),
    ],
)
def test_an_explanation_takes_ten_times_the_work_by_whichever_way_it_comes(
    site: Site, path: str, headers: Mapping[str, str]
) -> None:
    key = site.key(f"explaining{path}{headers}")
    predicted = Challenge.from_problem(site.raw("vector", VECTOR, key).content).puzzle.expected_hashes
    given = {"X-Api-Key": key, **headers}
    refused = requests.post(site.server.inference + path, data=VECTOR, headers=given, timeout=TIMEOUT)
    asked = Challenge.from_problem(refused.content).puzzle.expected_hashes
    assert 10 * 200 <= asked <= 1.25 * 10 * predicted
