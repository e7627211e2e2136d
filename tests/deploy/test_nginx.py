"""`deploy/nginx.conf`, but for its addresses: nginx in front of two TorchServes with one Redis."""

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from ssl import create_default_context

import grpc
import pytest
import requests

from calpow.archiver.packaging import ArchiveOrder, build
from calpow.archiver.server import Server, free_ports, served
from calpow.client import PowAuth
from calpow.client.grpc import PowInterceptor
from calpow.handler.ledger.uri import open_ledger
from calpow.puzzle.prepaid import prepaid_resource
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import Challenge, find_realm, format_prepaid, format_solution
from tests.support.certificates import own_certificate
from tests.support.grpc_stubs import generate
from tests.support.grpc_wire import PREDICTIONS
from tests.support.guarded import TIMEOUT, Protected
from tests.support.nginx import nginx
from tests.support.redis_servers import redis_binary, redis_server

pytestmark = [pytest.mark.server, pytest.mark.long]

CONFIG = Path(__file__).resolve().parents[2] / "deploy" / "nginx.conf"
MODEL = "vector"
SECRET = "a secret of the proxy"
OTHER_PATHS = (
    "/",
    "/ping",
    "/models",
    "/v2/models/vector/infer",
    "/explanations/vector",
    "/metrics",
    "/predictions",
    "/predictions/../models",
    "/predictions/%2e%2e/models",
    "//models",
)


@dataclass(frozen=True)
class Nodes:
    """Two servers, the URI of the ledger that they share, and a certificate with its key."""

    servers: tuple[Server, Server]
    uri: str
    certificate: tuple[Path, Path]

    def config(self) -> str:
        """Return the file for these servers."""
        text = CONFIG.read_text()
        for number, server in enumerate(self.servers, 1):
            text = text.replace(f"10.0.0.1{number}:8080", f"127.0.0.1:{server.inference_port}")
            text = text.replace(f"10.0.0.1{number}:7070", f"127.0.0.1:{server.grpc_port}")
        for name, path in zip(("/etc/ssl/models.pem", "/etc/ssl/models.key"), self.certificate, strict=True):
            text = text.replace(name, str(path))
        return text

    def asked(self) -> list[int]:
        """Return how many requests for predictions each server had."""
        return [server.log().count(f'"POST /predictions/{MODEL} HTTP/1.1"') for server in self.servers]


@dataclass(frozen=True)
class Front:
    """A running nginx: its addresses."""

    nodes: Nodes
    port: int
    grpc_port: int
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """The URL of the model."""
        return f"https://{self.host}:{self.port}/predictions/{MODEL}"

    def post(self, number: int, **options: object) -> requests.Response:
        """Send a sample."""
        payload = f"{number / 1000:.3f},0,0,0".encode()
        certificate = str(self.nodes.certificate[0])
        return requests.post(self.url, data=payload, verify=certificate, timeout=TIMEOUT, **options)  # type: ignore[arg-type]

    def queries(self, account: str) -> int:
        """Return the number of an account's samples."""
        return open_ledger(self.nodes.uri).account(MODEL, account).history.queries


def _post(front: Front, path: str) -> tuple[int, str]:
    """Send a sample to a path as it is, which requests would shorten; return the status and the body."""
    context = create_default_context(cafile=str(front.nodes.certificate[0]))
    connection = HTTPSConnection("127.0.0.1", front.port, timeout=TIMEOUT, context=context)
    try:
        connection.request("POST", path, body=b"0,0,0,0")
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def post_with(front: Front, headers: Sequence[tuple[str, str]]) -> int:
    """Send a sample with headers that may come twice; return the status."""
    context = create_default_context(cafile=str(front.nodes.certificate[0]))
    connection = HTTPSConnection("127.0.0.1", front.port, timeout=TIMEOUT, context=context)
    try:
        connection.putrequest("POST", f"/predictions/{MODEL}")
        for name, value in (*headers, ("Content-Length", "7")):
            connection.putheader(name, value)
        connection.endheaders(b"0,0,0,0")
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture(scope="module")
def nodes(protected: Mapping[str, Protected], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    folder = tmp_path_factory.mktemp("nodes")
    parts = protected[MODEL]
    order = ArchiveOrder(parts.victim, parts.teachers, parts.calibration, folder, MODEL, identity=("key", "proxy"))
    archives = {MODEL: build(order)}
    with ExitStack() as stack:
        uri = stack.enter_context(redis_server(redis_binary(), tmp_path_factory.mktemp("redis"))).uri()
        environment = {"CALPOW_LEDGER": uri, "CALPOW_PROXY_SECRET": SECRET}
        first, second = (stack.enter_context(served(archives, environment=environment)) for _ in range(2))
        yield Nodes((first, second), uri, own_certificate(folder))


@contextmanager
def running(nodes: Nodes, config: str, folder: Path, host: str = "127.0.0.1") -> Iterator[Front]:
    """Run nginx with a configuration, on a loopback address and ports of its own."""
    port, grpc_port = free_ports(2)
    config = config.replace("listen 443", f"listen {host}:{port}")
    config = config.replace("listen 8443", f"listen {host}:{grpc_port}")
    with nginx(folder, config):
        yield Front(nodes, port, grpc_port, host)


@pytest.fixture
def front(nodes: Nodes, tmp_path: Path) -> Iterator[Front]:
    with running(nodes, nodes.config(), tmp_path / "nginx") as found:
        yield found


def test_clients_pay_and_are_answered_by_both_nodes_as_by_one(front: Front) -> None:
    key, before = open_ledger(front.nodes.uri).add_key("ada"), front.nodes.asked()
    assert [front.post(number, auth=PowAuth(key)).status_code for number in range(12)] == [200] * 12
    assert front.queries("ada") == 12
    assert all(after > earlier for earlier, after in zip(before, front.nodes.asked(), strict=True))


def test_a_challenge_of_one_node_is_paid_at_the_other(front: Front) -> None:
    key = {"X-Api-Key": open_ledger(front.nodes.uri).add_key("bob")}
    for number in range(4):
        challenge = Challenge.from_problem(front.post(number, headers=key).content)
        paid = {**key, "PoW-Solution": format_solution(challenge.token, solve(challenge.puzzle))}
        # nginx takes turns: one of two requests goes to the node that has not issued the challenge.
        assert [front.post(number, headers=paid).status_code for _ in range(2)] == [200, 200]
    assert front.queries("bob") == 4


def test_headers_of_thousands_of_bytes_pass_in_both_directions(front: Front) -> None:
    key = open_ledger(front.nodes.uri).add_key("small stamps")
    realm = find_realm(front.post(1, headers={"X-Api-Key": key}).headers["WWW-Authenticate"]) or ""
    # Many stamps with too little work in all: the challenge for the rest names them all.
    stamps = solve(Puzzle("hashcash-sha1", prepaid_resource(realm, key), 1, 60))
    asked = front.post(1, headers={"X-Api-Key": key, "PoW-Solution": format_prepaid(stamps)})
    assert len(format_prepaid(stamps)) > 4_000
    assert asked.json()["type"].endswith("more-required"), asked.text
    assert len(asked.headers["WWW-Authenticate"]) > 4_000, "more than nginx takes by default"
    challenge = Challenge.from_problem(asked.content)
    paid = {"X-Api-Key": key, "PoW-Solution": format_solution(challenge.token, solve(challenge.puzzle))}
    assert front.post(1, headers=paid).status_code == 200


@pytest.mark.parametrize("header", ["PoW-Account", "pow-account", "POW_ACCOUNT"])
def test_what_clients_say_of_themselves_is_dropped_also_with_the_secret(front: Front, header: str) -> None:
    stolen = {header: "ada", "PoW-Proxy-Secret": SECRET}
    direct = requests.post(
        front.nodes.servers[0].url(MODEL),
        data=b"0,0,0,0",
        headers={"PoW-Account": "ada", "PoW-Proxy-Secret": SECRET},
        timeout=TIMEOUT,
    )
    assert direct.status_code == 402, "it would count without nginx"
    refused = front.post(1, headers=stolen)
    assert (refused.status_code, refused.json()["type"].rpartition(":")[2]) == (401, "identity-missing")


def test_the_name_that_nginx_vouches_for_replaces_the_clients(nodes: Nodes, tmp_path: Path) -> None:
    """docs/identities.md: behind `auth_basic`."""
    passwords = tmp_path / "passwords"
    digest = b64encode(hashlib.sha1(b"secret", usedforsecurity=False).digest()).decode()
    passwords.write_text(f"jos\u00e9:{{SHA}}{digest}\n")
    config = nodes.config().replace('PoW-Account      ""', "PoW-Account      $remote_user")
    config = config.replace('PoW-Proxy-Secret ""', f'PoW-Proxy-Secret "{SECRET}"')
    signs_in = f"location /predictions/ {{ auth_basic calpow; auth_basic_user_file {passwords};"
    with running(nodes, config.replace("location /predictions/ {", signs_in), tmp_path / "nginx") as front:
        assert front.post(1).status_code == 401
        headers = {
            "Authorization": "Basic " + b64encode("jos\u00e9:secret".encode()).decode(),
            "PoW-Account": "mallory",
            "pow-proxy-secret": "a guess of the secret",
        }
        challenge = Challenge.from_problem(front.post(1, headers=headers).content)
        paid = {**headers, "PoW-Solution": format_solution(challenge.token, solve(challenge.puzzle))}
        assert front.post(1, headers=paid).status_code == 200
        assert (front.queries("proxy:jos\u00e9"), front.queries("proxy:mallory")) == (1, 0)


@pytest.mark.parametrize("path", OTHER_PATHS)
def test_nothing_but_predictions_passes(front: Front, path: str) -> None:
    status, _ = _post(front, path)
    assert status in (301, 404)


@pytest.mark.parametrize(
    "path",
    [
        f"/ping/../predictions/{MODEL}",
        f"//v2/models/{MODEL}/infer/../..//%2e%2e/../predictions/{MODEL}",
        f"/explanations/{MODEL}/../../predictions/{MODEL}",
        f"/invocations/../predictions/{MODEL}?model_name={MODEL}",
    ],
)
def test_a_node_is_asked_for_the_path_that_nginx_has_checked(front: Front, path: str) -> None:
    """TorchServe looks at the first words of a path, and does not resolve `..`."""
    before = sum(front.nodes.asked())
    status, body = _post(front, path)
    assert (status, "identity-missing" in body) == (401, True), body
    assert sum(front.nodes.asked()) == before + ("?" not in path)


def test_clients_notice_nothing_of_a_node_that_is_away(nodes: Nodes, tmp_path: Path) -> None:
    key, (closed,) = open_ledger(nodes.uri).add_key("patient"), free_ports(1)
    config = nodes.config().replace(f"127.0.0.1:{nodes.servers[1].inference_port}", f"127.0.0.1:{closed}")
    with running(nodes, config, tmp_path / "nginx") as front:
        assert [front.post(number, auth=PowAuth(key)).status_code for number in range(8)] == [200] * 8
    assert front.queries("patient") == 8


@contextmanager
def narrow(
    nodes: Nodes, folder: Path, zone: str, rate: str = "1r/m", *, host: str = "127.0.0.1", before: str = ""
) -> Iterator[Front]:
    """Run nginx with a zone that lets one request a minute through, or another rate, and another one at once.

    `before` is put before the configuration.
    """
    lines = [before]
    for line in nodes.config().splitlines():
        if f"zone={zone}:" in line:
            line = re.sub("rate=[0-9]+r/s", f"rate={rate}", line)
        elif f"zone={zone} " in line:
            line = re.sub("burst=[0-9]+ delay=[0-9]+", "burst=1 nodelay", line)
        lines.append(line)
    with running(nodes, "\n".join(lines), folder, host) as front:
        yield front


def test_clients_of_many_connections_are_not_refused(front: Front) -> None:
    keys = [open_ledger(front.nodes.uri).add_key(f"busy-{number}") for number in range(4)]

    def ask(number: int) -> int:
        return front.post(number, auth=PowAuth(keys[number % 4])).status_code

    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(ask, range(128))) == [200] * 128


def test_an_account_that_floods_is_told_when_to_come_back_and_others_are_answered(nodes: Nodes, tmp_path: Path) -> None:
    flood, other = (open_ledger(nodes.uri).add_key(name) for name in ("flood", "other"))
    with narrow(nodes, tmp_path / "nginx", "calpow_key") as front:
        replies = [front.post(1, headers={"X-Api-Key": flood}) for _ in range(4)]
        assert [reply.status_code for reply in replies] == [402, 402, 429, 429]
        refused = replies[-1]
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert refused.headers["Retry-After"] == "2"
        assert refused.json()["type"] == "urn:calpow:problem:too-many-requests"
        assert refused.json()["status"] == 429
        # A page of another origin reads the refusal, and when to come back.
        assert refused.headers["Access-Control-Allow-Origin"] == "*"
        assert refused.headers["Access-Control-Expose-Headers"] == "Retry-After"
        # A header that the gate does not look at gives nobody another share.
        assert post_with(front, [("X-Api-Key", flood), ("PoW-Identity", "made up")]) == 429
        # The header that is counted is the one that a node gets.
        twice = [("X-Api-Key", "another"), ("X-Api-Key", flood)]
        assert post_with(front, twice) == 401
        assert front.post(1, headers={"X-Api-Key": other}).status_code == 402


def test_an_address_that_floods_without_a_key_is_refused(nodes: Nodes, tmp_path: Path) -> None:
    with narrow(nodes, tmp_path / "nginx", "calpow_address") as front:
        keys: list[Mapping[str, str]] = [{}, {"X-Api-Key": "a guess"}, {"X-Api-Key": "another"}, {"PoW-Identity": "x"}]
        assert [front.post(1, headers=headers).status_code for headers in keys] == [401, 401, 429, 429]


@pytest.mark.parametrize(
    ("addresses", "statuses"),
    [
        # One site: the first six bytes of an address, however many groups of zeros its text leaves out.
        (("2a00::1", "2a00:0:0:1::1", "2a00::ffff:2:3:4:5", "2a00:0:0:a00::"), [401, 401, 429, 429]),
        (("2001:db8:a::1", "2001:db8:a:b:c:d:e:f", "2001:db8:a:a::", "2001:db8:a::2"), [401, 401, 429, 429]),
        (("2001:db8:a::1", "2001:db8:b::1", "2001:db8::1", "2001:db9::1"), [401] * 4),
        (("10.1.2.3", "10.1.2.4", "10.1.2.10", "2001:db8::1"), [401] * 4),
        (("10.1.2.3", "10.1.2.3", "10.1.2.3", "10.1.2.4"), [401, 401, 429, 401]),
    ],
)
def test_of_an_ipv6_address_the_site_is_counted(
    nodes: Nodes, tmp_path: Path, addresses: Sequence[str], statuses: Sequence[int]
) -> None:
    known = "set_real_ip_from 127.0.0.1; real_ip_header X-Real-IP;"
    with narrow(nodes, tmp_path / "nginx", "calpow_address", before=known) as front:
        assert [front.post(1, headers={"X-Real-IP": address}).status_code for address in addresses] == statuses


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this machine has no IPv6")
def test_a_client_with_an_ipv6_address_is_answered_and_limited(nodes: Nodes, tmp_path: Path) -> None:
    with narrow(nodes, tmp_path / "nginx", "calpow_address", host="[::1]") as front:
        assert [front.post(1).status_code for _ in range(3)] == [401, 401, 429]


def test_the_client_waits_for_its_turn_or_shows_the_refusal(nodes: Nodes, tmp_path: Path) -> None:
    key = open_ledger(nodes.uri).add_key("hasty")
    with narrow(nodes, tmp_path / "nginx", "calpow_key", "1r/s") as front:
        # The first one takes two requests, and prepaid ones follow.
        assert [front.post(number, auth=PowAuth(key)).status_code for number in range(3)] == [200] * 3
        impatient = [front.post(number, auth=PowAuth(key, max_wait=0)) for number in range(4)]
        assert impatient[-1].status_code == 429
        assert impatient[-1].json()["title"] == "Too many requests"
    assert front.queries("hasty") >= 3


def test_grpc_is_told_of_a_flood_by_a_code(nodes: Nodes, tmp_path: Path) -> None:
    stubs, trusted = generate(tmp_path), grpc.ssl_channel_credentials(nodes.certificate[0].read_bytes())
    with (
        narrow(nodes, tmp_path / "nginx", "calpow_address") as front,
        grpc.secure_channel(f"127.0.0.1:{front.grpc_port}", trusted) as channel,
    ):
        stub, sample = stubs.stub(channel), stubs.request(MODEL, b"0,0,0,0")
        asked = [stub.Predictions.future(sample, timeout=TIMEOUT).code() for _ in range(4)]
    assert asked[0] is grpc.StatusCode.OK  # a demand for work is an ordinary reply
    assert asked[-1] is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_grpc_passes_with_its_two_calls_and_no_others(front: Front, tmp_path: Path) -> None:
    key, stubs = open_ledger(front.nodes.uri).add_key("remote"), generate(tmp_path)
    trusted = grpc.ssl_channel_credentials(front.nodes.certificate[0].read_bytes())
    with grpc.secure_channel(f"127.0.0.1:{front.grpc_port}", trusted) as channel:
        stub = stubs.stub(grpc.intercept_channel(channel, PowInterceptor(key)))
        for number in range(4):
            stub.Predictions(stubs.request(MODEL, b"0.%d,0,0,0" % number), timeout=TIMEOUT)
        assert list(stub.StreamPredictions(stubs.request(MODEL, b"0.5,0,0,0"), timeout=TIMEOUT))
        assert front.queries("remote") == 5
        service = PREDICTIONS.rpartition("/")[0]
        for path in (
            f"{service}/StreamPredictions2",
            f"{service}/Ping",
            "/org.pytorch.serve.grpc.management.ManagementAPIsService/ListModels",
            "/org.pytorch.serve.grpc.openinference.GRPCInferenceService/ModelInfer",
        ):
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary(path)(b"", timeout=TIMEOUT)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
