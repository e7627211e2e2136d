"""Hostile requests get their problem documents; the worker lives, and no account is charged for them."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
import pytest
import requests

from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import Challenge, format_solution
from tests.support import grpc_wire
from tests.support.guarded import TIMEOUT, Site

VECTOR = b"0.1,0.9,0.3,0.2"

WAYS = [
    ("POST", "/predictions/vector"),
    ("PUT", "/predictions/vector"),
    ("POST", "/predictions/vector/1.0"),
    ("POST", "/explanations/vector"),
    ("POST", "/invocations?model_name=vector"),
    ("POST", "/models/vector/invoke"),
    ("POST", "/vector/predict"),
    ("POST", "/vector/1.0/predict"),
    ("POST", "/v1/models/vector:predict"),
    ("POST", "/v1/models/vector:explain"),
    ("POST", "/v2/models/vector/infer"),
    ("POST", "/v2/models/vector/explain"),
]


def problem(response: requests.Response, status: int, kind: str) -> dict[str, object]:
    """Check that a response is this problem document and nothing leaks with it."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    document: dict[str, object] = response.json()
    assert document["type"] == f"urn:calpow:problem:{kind}"
    assert document["status"] == status
    assert ("challenge" in document) == (status == 402) == ("WWW-Authenticate" in response.headers)
    assert "Traceback" not in response.text
    return document


def solved(response: requests.Response) -> tuple[Challenge, list[str]]:
    challenge = Challenge.from_problem(response.content)
    return challenge, solve(challenge.puzzle)


@pytest.fixture
def unharmed(site: Site) -> Callable[[], None]:
    """The workers that were up must still be up."""
    before = site.server.worker_pids("vector")
    return lambda: _same(before, site.server.worker_pids("vector"))


def _same(before: list[int], after: list[int]) -> None:
    assert before == after


def test_no_key_and_unknown_keys(site: Site, unharmed: Callable[[], None]) -> None:
    problem(site.raw("vector", VECTOR), 401, "identity-missing")
    for key in ("cp_00000000_" + "0" * 48, "x", "'; DROP TABLE keys; --", "k" * 7000):
        problem(site.raw("vector", VECTOR, key), 401, "identity-unknown")
    unharmed()


@pytest.mark.parametrize(("method", "path"), WAYS)
def test_no_way_into_torchserve_goes_round_the_gate(site: Site, method: str, path: str) -> None:
    answer = requests.request(method, site.server.inference + path, data=VECTOR, timeout=TIMEOUT)
    problem(answer, 401, "identity-missing")
    key = site.key(f"way{path}")
    answer = requests.request(
        method, site.server.inference + path, data=VECTOR, headers={"x-api-key": key}, timeout=TIMEOUT
    )
    problem(answer, 402, "pow-required")


def test_grpc_predictions_are_gated_and_can_be_paid_for(site: Site, unharmed: Callable[[], None]) -> None:
    target, key = site.server.grpc, site.key("grpc").encode()
    assert json.loads(grpc_wire.predict(target, "vector", {"body": VECTOR}))["status"] == 401
    entries = {"body": VECTOR, "x-api-key": key}
    challenged = grpc_wire.predict(target, "vector", entries)
    challenge = Challenge.from_problem(challenged)
    entries["PoW-Solution"] = format_solution(challenge.token, solve(challenge.puzzle)).encode()
    assert json.loads(grpc_wire.predict(target, "vector", entries)) == {"class": 1, "explained": False}
    assert json.loads(grpc_wire.predict(target, "vector", entries)) == {"class": 1, "explained": False}, "a retry"
    entries["body"] = b"0.9,0.1,0.3,0.2"
    assert json.loads(grpc_wire.predict(target, "vector", entries))["type"].endswith("challenge-spent")
    unharmed()


def test_grpc_streams_are_gated(site: Site, unharmed: Callable[[], None]) -> None:
    answer = grpc_wire.predict(site.server.grpc, "vector", {"body": VECTOR}, stream=True)
    assert json.loads(answer)["status"] == 401
    unharmed()


def test_kserve_over_grpc_is_off_unless_the_operator_turns_it_on(site: Site, unharmed: Callable[[], None]) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        grpc_wire.infer(site.server.grpc, "vector", VECTOR)
    assert "UNIMPLEMENTED" in str(refused.value)
    unharmed()


def test_a_description_needs_a_key_and_a_prediction_in_its_clothes_needs_work(site: Site) -> None:
    url = site.server.url("vector")
    described = requests.get(f"{site.server.management}/models/vector?customized=true", timeout=TIMEOUT)
    assert "four numbers in" not in described.text
    headers = {"describe": "True", "Content-Type": "application/x-www-form-urlencoded", "X-Api-Key": site.key("reader")}
    described = requests.post(url, data=b"", headers=headers, timeout=TIMEOUT)
    assert "four numbers in" in described.text
    del headers["Content-Type"]
    problem(requests.post(url, data=VECTOR, headers=headers, timeout=TIMEOUT), 402, "pow-required")
    for disguise in ({"describe": "True"}, {"describe": "True", "explain": "True"}):
        problem(requests.post(url, data=VECTOR, headers=disguise, timeout=TIMEOUT), 401, "identity-missing")


def test_nobody_spoils_what_others_in_his_batch_have_paid_for(site: Site, unharmed: Callable[[], None]) -> None:
    """Text that looks like a device's failure, a forged description, a payload on which the victim itself fails."""
    ada, eve = site.key("ada-in-company"), site.key("eve-in-company")
    url = site.server.url("vector")
    for number, (payload, headers) in enumerate(
        ((b"CUDA,1,2,3", {}), (VECTOR + b"9", {"describe": "True"}), (VECTOR + b";raise", {}))
    ):
        good = [f"0.{number + 1},0.9,0.3,0.{last}".encode() for last in range(1, 4)]
        ready = [format_solution(c.token, s) for c, s in (solved(site.raw("vector", text, ada)) for text in good)]
        bad = {"X-Api-Key": eve, **headers}
        challenge, stamps = solved(site.raw("vector", payload, eve))
        bad["PoW-Solution"] = format_solution(challenge.token, stamps)
        with ThreadPoolExecutor(4) as pool:
            pool.submit(requests.post, url, data=payload, headers=bad, timeout=TIMEOUT)
            answers = list(
                pool.map(lambda query: site.raw("vector", query[0], ada, query[1]), zip(good, ready, strict=True))
            )
        assert [answer.status_code for answer in answers] == [200] * 3
    unharmed()


def test_nobody_registers_the_bare_victim_over_http(site: Site) -> None:
    victim = site.parts["vector"].victim
    for method, path in (
        ("POST", f"/models?url=file://{victim}&initial_workers=1"),
        ("POST", f"/workflows?url=file://{victim}"),
        ("POST", f"/models?url={victim.name}"),
    ):
        answer = requests.request(method, site.server.management + path, timeout=TIMEOUT)
        assert answer.status_code >= 400


@pytest.mark.parametrize(
    "payload", [b"", b"no numbers", b"1,2,3", b"\x00\xff" * 100, b"nan,nan,nan,nan", b"1e999,0,0,0", b"[" * 5000]
)
def test_a_payload_the_victim_cannot_read_leaves_the_work_good(
    site: Site, payload: bytes, unharmed: Callable[[], None]
) -> None:
    account = f"unreadable-{payload[:9]!r}"
    key = site.key(account)
    challenge, stamps = solved(site.raw("vector", payload, key))
    solution = format_solution(challenge.token, stamps)
    problem(site.raw("vector", payload, key, solution), 400, "bad-payload")
    assert site.history(account).queries == 0
    assert site.raw("vector", VECTOR, key, solution).status_code == 200
    unharmed()


@pytest.mark.parametrize("depth", [100, 900, 980, 990, 995, 1000, 100_000])
def test_json_nested_too_deep_is_a_bad_payload(site: Site, depth: int, unharmed: Callable[[], None]) -> None:
    headers = {"X-Api-Key": site.key(f"nested-{depth}"), "Content-Type": "application/json"}
    nested, url = "[" * depth + "]" * depth, site.server.url("vector")
    challenge, stamps = solved(requests.post(url, data=nested, headers=headers, timeout=TIMEOUT))
    headers["PoW-Solution"] = format_solution(challenge.token, stamps)
    problem(requests.post(url, data=nested, headers=headers, timeout=TIMEOUT), 400, "bad-payload")
    unharmed()


def test_broken_form_and_multipart_bodies_do_no_harm(site: Site, unharmed: Callable[[], None]) -> None:
    key = site.key("forms")
    for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "multipart/form-data"):
        headers = {"X-Api-Key": key, "Content-Type": kind}
        answer = requests.post(site.server.url("vector"), data=b"", headers=headers, timeout=TIMEOUT)
        assert 400 <= answer.status_code < 500
    unharmed()


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda token, stamps: f"{token[:-6]} {' '.join(stamps)}", "malformed-solution"),
        (
            lambda token, stamps: f"{token[:-1]}{'A' if token[-1] != 'A' else 'B'} {' '.join(stamps)}",
            "malformed-solution",
        ),
        (lambda token, stamps: f"{token[:40]}x{token[41:]} {' '.join(stamps)}", "malformed-solution"),
        (lambda token, stamps: token, "malformed-solution"),
        (lambda token, stamps: "noise " * 1000, "malformed-solution"),
        (lambda token, stamps: "N" * 7000, "malformed-solution"),
        (lambda token, stamps: f"{token} {' '.join(stamps[:-1])}", "invalid-solution"),
        (lambda token, stamps: f"{token} {' '.join(stamps[:1] * len(stamps))}", "invalid-solution"),
        (lambda token, stamps: f"{token} {' '.join(reversed(stamps))}", "invalid-solution"),
    ],
)
def test_a_solution_that_is_none_is_told_so_and_spends_nothing(
    site: Site, spoil: Callable[[str, list[str]], str], kind: str, unharmed: Callable[[], None]
) -> None:
    account = f"spoiled-{abs(hash(spoil))}"
    key = site.key(account)
    challenge, stamps = solved(site.raw("vector", VECTOR, key))
    refused = site.raw("vector", VECTOR, key, spoil(challenge.token, stamps))
    document = problem(refused, 402, kind)
    assert Challenge.from_problem(refused.content).puzzle.expected_hashes == challenge.puzzle.expected_hashes
    assert document["detail"]
    assert site.history(account).queries == 0
    assert site.raw("vector", VECTOR, key, format_solution(challenge.token, stamps)).status_code == 200
    unharmed()


def test_a_solution_pays_for_any_payload_but_for_no_other_account_or_model(site: Site) -> None:
    ada, bob = site.key("swap-ada"), site.key("swap-bob")
    challenge, stamps = solved(site.raw("vector", VECTOR, ada))
    solution = format_solution(challenge.token, stamps)
    problem(site.raw("vector", VECTOR, bob, solution), 402, "challenge-mismatch")
    problem(site.raw("function", VECTOR, ada, solution), 402, "challenge-mismatch")
    assert site.raw("vector", b"0.9,0.1,0.1,0.1", ada, solution).status_code == 200
    problem(site.raw("vector", VECTOR, ada, solution), 402, "challenge-spent")


def test_of_200_simultaneous_replays_one_is_charged_and_five_are_answered_at_most(
    site: Site, unharmed: Callable[[], None]
) -> None:
    key = site.key("replayer")
    challenge, stamps = solved(site.raw("vector", VECTOR, key))
    solution = format_solution(challenge.token, stamps)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: site.raw("vector", VECTOR, key, solution), range(200)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 195 <= len(refused) <= 199
    for answer in refused:
        problem(answer, 402, "challenge-spent")
    assert site.history("replayer").queries == 1
    unharmed()


def test_nobody_learns_what_a_query_cost(site: Site) -> None:
    key = site.key("curious")
    for text in ("0.1,0.9,0.3,0.2", "0.5,0.5,0.5,0.5", "9,9,9,9"):
        answer = site.raw("vector", text.encode(), key)
        assert set(answer.json()) == {"type", "title", "status", "detail", "challenge"}
        assert set(answer.json()["challenge"]) == {
            "token",
            "id",
            "algorithm",
            "bits",
            "count",
            "expires",
            "expected_hashes",
        }


def test_keys_and_payloads_are_not_logged(site: Site) -> None:
    key = site.key("secretive")
    payload = b"0.123456789,0.2,0.3,0.4"
    site.paid("vector", payload, key)
    site.raw("vector", payload + b",?", key)
    assert key not in site.server.log()
    assert "0.123456789" not in site.server.log()


# Members of a challenge that differ from one to the next.
VARYING = ("token", "id", "expires")
PAYLOADS: dict[str, tuple[bytes, dict[str, str]]] = {
    "ordinary": (VECTOR, {}),
    "odd": (b"9,-9,9,-9", {}),
    "empty": (b"", {}),
    "unreadable": (b"no numbers", {}),
    "large": (b"1" * 500_000, {}),
    "json": (b'{"instances": 7}', {"Content-Type": "application/json"}),
    "nested": (b"[" * 900 + b"]" * 900, {"Content-Type": "application/json"}),
    "form": (b"a=1&b=2", {"Content-Type": "application/x-www-form-urlencoded"}),
    "broken form": (b"--x", {"Content-Type": "multipart/form-data; boundary=x"}),
    "headers": (VECTOR, {"X-Vector": "1,2,3,4", "Accept": "image/png", "Cookie": "a=b"}),
    "forged": (VECTOR, {"describe": "True"}),
    "malformed": (VECTOR, {"PoW-Solution": "noise"}),
}


def test_what_an_unpaid_request_is_asked_depends_on_its_purpose_alone(site: Site) -> None:
    """Prices tell nothing of the payload, and nothing of what the model would answer. Lists are not counted here."""
    account = "oracle"
    key = site.key(account)

    def quoted(path: str, payload: bytes, headers: dict[str, str]) -> tuple[object, ...]:
        url = site.server.inference + path
        refused = requests.post(url, data=payload, headers={"X-Api-Key": key, **headers}, timeout=TIMEOUT)
        document = refused.json()
        asked = {name: value for name, value in document["challenge"].items() if name not in VARYING}
        length = len(document["challenge"]["token"])
        return refused.status_code, tuple(asked.items()), tuple(sorted(document)), length, sorted(set(refused.headers))

    for _ in range(2):
        prices = {}
        for purpose, path in (("predict", "/predictions/vector"), ("explain", "/explanations/vector")):
            with ThreadPoolExecutor(len(PAYLOADS)) as pool:
                quotes = list(pool.map(partial(quoted, path), *zip(*PAYLOADS.values(), strict=True)))
            assert quotes == quotes[:1] * len(quotes)
            prices[purpose] = quotes[0][1]
        assert prices["predict"] != prices["explain"]
        # The account's past may change its price, and does so for all payloads alike.
        site.paid("vector", b"9,9,-9,9", key)
    assert site.history(account).queries == 1
