"""A running TorchServe identifies requests by keys, tokens, a trusted proxy or not at all, by HTTP and by gRPC."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from urllib.parse import urlsplit

import grpc
import pytest
import requests

from calpow.archiver.packaging import ArchiveOrder, build
from calpow.archiver.server import Server, served
from calpow.client import PowAuth
from calpow.client.grpc import PowInterceptor
from calpow.handler.ledger.account import Rule
from calpow.handler.ledger.uri import open_ledger
from calpow.puzzle.prepaid import subject_resource
from calpow.puzzle.profiles import DEFAULT_PROFILE, PROFILES
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import Challenge, find_realm, format_prepaid, format_solution
from tests.support import grpc_wire
from tests.support.grpc_stubs import generate
from tests.support.guarded import TIMEOUT, Protected
from tests.support.identity_provider import Provider

pytestmark = [pytest.mark.server, pytest.mark.long]

SECRET = "a secret of the proxy"
PAYLOAD = b"0.1,0.2,0.3,0.4"
# Takes keys, tokens and the proxy's names; the other one nobody's as well.
CLOSED, OPEN = "closed", "open"
# A worker looks at its files every second. The other one is for a machine that is busy.
MOST_SECONDS = 2.0
Headers = Mapping[str, str] | Mapping[str, bytes | str]


@dataclass(frozen=True)
class Site:
    """A server with two workers a model, its ledger, and the provider whose tokens it takes."""

    server: Server
    uri: str
    provider: Provider

    def post(self, headers: Headers, model: str = CLOSED, payload: bytes = PAYLOAD) -> requests.Response:
        return requests.post(self.server.url(model), data=payload, headers=headers, timeout=TIMEOUT)

    def pay(self, headers: Headers, model: str = CLOSED, payload: bytes = PAYLOAD) -> requests.Response:
        """Send a request, and do the work that it takes."""
        asked = self.post(headers, model, payload)
        assert asked.status_code == 402, asked.text
        challenge = Challenge.from_problem(asked.content)
        solution = format_solution(challenge.token, solve(challenge.puzzle))
        return self.post({**headers, "PoW-Solution": solution}, model, payload)

    def queries(self, account: str, model: str = CLOSED) -> int:
        return open_ledger(self.uri).account(model, account).history.queries

    def token(self, subject: str) -> dict[str, str]:
        return {"PoW-Identity": self.provider.token(sub=subject)}


@pytest.fixture(scope="module")
def site(protected: Mapping[str, Protected], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("identities")
    provider = Provider(folder)
    provider.add("first")
    parts = protected["vector"]
    archives = {
        name: build(
            ArchiveOrder(parts.victim, parts.teachers, parts.calibration, folder, name, identity=("key", "jwt", *ways))
        )
        for name, ways in ((CLOSED, ("proxy",)), (OPEN, ("anonymous",)))
    }
    uri = f"sqlite:///{folder / 'ledger.db'}"
    environment = {
        "CALPOW_LEDGER": uri,
        "CALPOW_IDENTITY": str(provider.settings_file()),
        "CALPOW_PROXY_SECRET": SECRET,
    }
    properties = {"default_workers_per_model": "2"}
    with served(archives, properties=properties, environment=environment) as server:
        yield Site(server, uri, provider)


def problem_of(response: requests.Response) -> str:
    return str(response.json()["type"]).rpartition(":")[2]


def test_keys_tokens_and_the_proxys_names_have_accounts_of_their_own(site: Site) -> None:
    key = open_ledger(site.uri).add_key("ada")
    ways = ({"X-Api-Key": key}, site.token("ada"), {"PoW-Account": "ada", "PoW-Proxy-Secret": SECRET})
    for headers in ways:
        assert site.pay(headers).status_code == 200
    assert [site.queries(name) for name in ("ada", "jwt:ada", "proxy:ada")] == [1, 1, 1]


def test_a_proxys_name_in_utf_8_is_one_account_however_its_letters_are_written(site: Site) -> None:
    for name in (b"jos\xc3\xa9", b"jose\xcc\x81"):
        assert site.pay({"PoW-Account": name, "PoW-Proxy-Secret": SECRET}).status_code == 200
    assert site.queries("proxy:jos\u00e9") == 1, "the second one was answered before"


def test_forged_tokens_and_names_get_401_and_nothing_runs(site: Site) -> None:
    provider = site.provider
    good = provider.token()
    for headers in (
        {"PoW-Identity": provider.unsigned()},
        {"PoW-Identity": provider.confused()},
        {"PoW-Identity": provider.token(headers={"kid": "../jwks.json"})},
        {"PoW-Identity": provider.token(exp=1)},
        {"PoW-Identity": provider.token(nbf=int(time.time()) + 3600)},
        {"PoW-Identity": provider.token(aud="letters")},
        {"PoW-Identity": good[:-6] + "AAAAAA"},
        {"PoW-Identity": "x" * 7900},
        {"PoW-Identity": provider.token(sub="ada\u0000")},
        {"PoW-Identity": provider.token(sub="a" * 200)},
        {"PoW-Identity": f"Bearer {good}"},
        {"PoW-Account": "ada"},
        {"PoW-Account": "ada", "PoW-Proxy-Secret": "a secret of a thief"},
        {"PoW-Account": "a" * 200, "PoW-Proxy-Secret": SECRET},
        {"X-Api-Key": "cp_00000000_" + "0" * 48, **site.token("ada")},
    ):
        refused = site.post(headers)
        assert (refused.status_code, problem_of(refused)) == (401, "identity-unknown"), headers
        assert SECRET not in refused.text
    assert problem_of(site.post({})) == "identity-missing"
    assert problem_of(site.post({"Authorization": f"Bearer {good}"})) == "identity-missing"


@pytest.mark.parametrize("name", ["PoW-Identity", "PoW-Account", "X-Api-Key", "PoW-Proxy-Secret"])
def test_a_header_in_two_spellings_is_refused(site: Site, name: str) -> None:
    values = {
        "PoW-Identity": site.provider.token(),
        "PoW-Account": "ada",
        "PoW-Proxy-Secret": SECRET,
        "X-Api-Key": open_ledger(site.uri).add_key("twice"),
    }
    headers = [(name, values[name]), (name.upper(), values[name]), ("pow-account", "ada"), ("pow-proxy-secret", SECRET)]
    status, body = raw_post(site.server.url(CLOSED), headers)
    assert (status, json.loads(body)["type"].rpartition(":")[2]) == (401, "identity-unknown")


def test_of_a_header_that_comes_twice_in_one_spelling_the_last_one_counts(site: Site) -> None:
    headers = [("PoW-Account", "victim"), ("PoW-Account", "thief"), ("PoW-Proxy-Secret", SECRET)]
    status, body = raw_post(site.server.url(CLOSED), headers)
    assert status == 402
    answered = site.pay({"PoW-Account": "thief", "PoW-Proxy-Secret": SECRET})
    challenge = Challenge.from_problem(body)
    solution = format_solution(challenge.token, solve(challenge.puzzle))
    named = {"PoW-Account": "thief", "PoW-Proxy-Secret": SECRET, "PoW-Solution": solution}
    assert [answered.status_code, site.post(named, payload=b"0.2,0.2,0.2,0.2").status_code] == [200, 200]
    assert (site.queries("proxy:thief"), site.queries("proxy:victim")) == (2, 0)


def raw_post(url: str, headers: list[tuple[str, str]]) -> tuple[int, bytes]:
    """Send headers as they are, which requests would join."""
    place = urlsplit(url)
    connection = HTTPConnection(place.hostname or "", place.port, timeout=TIMEOUT)
    connection.putrequest("POST", place.path)
    for name, value in [*headers, ("Content-Length", str(len(PAYLOAD)))]:
        connection.putheader(name, value)
    connection.endheaders(PAYLOAD)
    response = connection.getresponse()
    try:
        return response.status, response.read()
    finally:
        connection.close()


def test_stamps_that_name_the_announced_subject_buy_an_answer_in_one_round_trip(site: Site) -> None:
    answer = site.pay(site.token("prepaying"))
    realm = find_realm(site.post(site.token("prepaying")).headers["WWW-Authenticate"]) or ""
    resource = subject_resource(realm, answer.headers["PoW-Subject"])
    puzzle = PROFILES[DEFAULT_PROFILE].kind.puzzle(int(answer.headers["PoW-Next"]) + 16, resource)
    paid = {**site.token("prepaying"), "PoW-Solution": format_prepaid(solve(puzzle))}
    another = site.post({**paid, **site.token("another")})
    assert problem_of(another) == "invalid-solution"
    assert another.headers["PoW-Subject"] != answer.headers["PoW-Subject"]
    assert site.post(paid).status_code == 200


def test_clients_with_tokens_pay_beforehand_by_http_and_by_grpc(
    site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    numbers = iter(range(100))
    auth = PowAuth(token=lambda: site.provider.token(sub="client", jti=str(next(numbers))))
    answers = [
        requests.post(site.server.url(CLOSED), data=f"0.{n},0,0,0", auth=auth, timeout=TIMEOUT) for n in range(1, 5)
    ]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert [len(answer.history) for answer in answers] == [1, 0, 0, 0]
    stubs = generate(tmp_path_factory.mktemp("stubs"))
    with grpc.insecure_channel(site.server.grpc) as channel:
        paying = grpc.intercept_channel(channel, PowInterceptor(token=site.provider.token(sub="client")))
        for number in range(5, 8):
            stubs.stub(paying).Predictions(stubs.request(CLOSED, b"0.%d,0,0,0" % number), timeout=TIMEOUT)
    assert site.queries("jwt:client") == 7


def test_everybody_shares_one_account_where_the_owner_allows_it(site: Site) -> None:
    assert site.pay({}, OPEN).status_code == 200
    assert site.pay({"PoW-Account": "ada", "PoW-Proxy-Secret": SECRET}, OPEN, b"0.2,0.2,0.2,0.2").status_code == 200
    assert site.queries("anonymous", OPEN) == 2
    assert problem_of(site.post({"PoW-Identity": site.provider.unsigned()}, OPEN)) == "identity-unknown"


def test_grpc_carries_tokens_and_names_as_entries_of_the_input_map(site: Site) -> None:
    def ask(**entries: str) -> bytes:
        named = {name.replace("_", "-"): value.encode() for name, value in entries.items()}
        return grpc_wire.predict(site.server.grpc, CLOSED, {"data": PAYLOAD, **named})

    for name, shown in (
        ("jwt:remote", {"pow_identity": site.provider.token(sub="remote")}),
        ("proxy:remote", {"PoW_Account": "remote", "PoW_Proxy_Secret": SECRET}),
    ):
        challenge = Challenge.from_problem(ask(**shown))
        answer = ask(**shown, PoW_Solution=format_solution(challenge.token, solve(challenge.puzzle)))
        assert b"urn:calpow" not in answer
        assert site.queries(name) == 1
    for shown in (
        {"PoW_Identity": site.provider.confused()},
        {"PoW_Identity": site.provider.token(), "pow_identity": site.provider.token()},
        {"PoW_Identity": "x" * 3_000_000},
        {"PoW_Account": "remote"},
        {"PoW_Account": "remote", "pow_account": "ada", "PoW_Proxy_Secret": SECRET},
    ):
        assert json.loads(ask(**shown))["status"] == 401


def test_descriptions_are_for_accounts_without_keys_too(site: Site) -> None:
    headers = {"describe": "True", "Content-Type": "application/x-www-form-urlencoded"}
    described = site.post({**headers, **site.token("reader")}, payload=b"")
    assert described.status_code == 200, described.text
    assert (
        problem_of(site.post({**headers, "PoW-Identity": site.provider.unsigned()}, payload=b"")) == "identity-unknown"
    )


def test_a_blocked_subject_gets_nothing_with_the_next_request(site: Site) -> None:
    assert site.pay(site.token("eve")).status_code == 200
    open_ledger(site.uri).set_rule("jwt:eve", Rule.BLOCKED)
    assert {problem_of(site.post(site.token("eve"))) for _ in range(8)} == {"account-blocked"}


def test_keys_rotate_and_a_broken_file_keeps_the_last_ones_on_every_worker(site: Site) -> None:
    provider = site.provider
    old = site.token("rotating")
    provider.add("second")
    fresh = site.token("rotating")
    assert until_all(site, fresh, 402) < MOST_SECONDS
    provider.write("{")
    time.sleep(1.5)
    assert {site.post(headers).status_code for headers in (old, fresh) for _ in range(8)} == {402}
    del provider.keys["first"]
    provider.publish()
    assert until_all(site, old, 401) < MOST_SECONDS
    assert {site.post(fresh).status_code for _ in range(8)} == {402}


def test_a_revoked_key_is_refused_by_every_worker_with_the_next_request(site: Site) -> None:
    ledger = open_ledger(site.uri)
    key = ledger.add_key("leaving")
    assert {site.post({"X-Api-Key": key}).status_code for _ in range(8)} == {402}
    ledger.revoke_key(key.split("_")[1])
    assert {site.post({"X-Api-Key": key}).status_code for _ in range(8)} == {401}


def test_a_key_that_expires_is_refused_by_every_worker_from_then_on(site: Site) -> None:
    expires = time.time() + 2.0
    key = open_ledger(site.uri).add_key("passing", expires)
    seen: list[tuple[float, float, int]] = []
    while not seen or seen[-1][0] < expires + 1.0:
        sent = time.time()
        status = site.post({"X-Api-Key": key}).status_code
        seen.append((sent, time.time(), status))
    assert {status for _, ended, status in seen if ended < expires} == {402}
    assert {status for sent, _, status in seen if sent > expires} == {401}


def test_neither_tokens_nor_secrets_are_logged(site: Site) -> None:
    token = site.provider.token(aud="letters")
    site.post({"PoW-Identity": token})
    site.post({"PoW-Account": "ada", "PoW-Proxy-Secret": "a secret of a thief"})
    log = site.server.log()
    assert "an identity is refused: a token is not valid" in log
    for secret in (SECRET, "a secret of a thief", *token.split(".")[1:]):
        assert secret not in log


def until_all(site: Site, headers: Mapping[str, str], status: int) -> float:
    """Return the seconds until the last request that got another status was sent; eight in a row reach both workers."""
    began = last = time.monotonic()
    in_a_row = 0
    while in_a_row < 8:
        sent = time.monotonic()
        assert sent - began < TIMEOUT
        if site.post(headers).status_code == status:
            in_a_row += 1
        else:
            in_a_row, last = 0, sent
    print(f"{status} everywhere {last - began:.2f} s after the change")
    return last - began
