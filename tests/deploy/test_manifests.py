"""The files of deploy/: Kubernetes and systemd accept them, and every file, port and setting that they name exists."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import requests
import ts
import yaml

from calpow.archiver.server import free_ports, served
from calpow.handler.ledger.uri import URI_VARIABLE
from tests.support.guarded import TIMEOUT, Protected

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
KUBERNETES = ("1.27", "1.37")
IN_IMAGE = Path("/etc/calpow")
# Of the image, and of those who run it; TorchServe's own settings begin with TS_.
ENVIRONMENT = {
    "CALPOW_KEY",
    "HOME",
    "JAVA_HOME",
    "OMP_NUM_THREADS",
    "PATH",
    "PYTHONDONTWRITEBYTECODE",
    "TEMP",
    "TMPDIR",
    URI_VARIABLE,
}

Manifest = dict[str, Any]


def documents(file: Path) -> list[Manifest]:
    """Return the manifests of a file."""
    return list(yaml.safe_load_all(file.read_text()))


def manifest(file: str, kind: str) -> Manifest:
    """Return the manifest of this kind."""
    (found,) = [document for document in documents(DEPLOY / "kubernetes" / file) if document["kind"] == kind]
    return found


def pod(file: str, kind: str) -> Manifest:
    """Return the template of a workload's pods."""
    template: Manifest = manifest(file, kind)["spec"]["template"]
    return template


def properties(file: Path) -> Mapping[str, str]:
    """Return the settings of a config.properties."""
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    settings = dict(line.split("=", 1) for line in lines)
    assert len(settings) == len(lines), "a setting is there twice"
    return settings


def dockerfile() -> str:
    """Return the Dockerfile without comments, a line for each instruction."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    return "\n".join(lines).replace("\\\n", " ")


def torchserves_settings() -> bytes:
    """Return the constants of the class of TorchServe that reads its settings."""
    with ZipFile(Path(ts.__file__).parent / "frontend" / "model-server.jar") as jar:
        return jar.read("org/pytorch/serve/util/ConfigManager.class")


def strings(node: object) -> Iterator[str]:
    """Yield every string of a manifest."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping):
        for member in node.values():
            yield from strings(member)
    elif isinstance(node, list):
        for entry in node:
            yield from strings(entry)


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.stem)
def test_kubernetes_accepts_every_manifest(file: Path, version: str) -> None:
    for document in documents(file):
        kubernetes_validate.validate(document, version, strict=True)


def test_a_setting_that_kubernetes_does_not_know_is_noticed() -> None:
    document = documents(DEPLOY / "kubernetes" / "server.yaml")[0]
    document["spec"]["template"]["spec"]["runAsNonRoot"] = True  # belongs into securityContext
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, KUBERNETES[-1], strict=True)


@pytest.mark.parametrize(("file", "kind"), [("server.yaml", "Deployment"), ("redis.yaml", "StatefulSet")])
def test_pods_run_without_privileges_on_a_read_only_root(file: str, kind: str) -> None:
    spec = pod(file, kind)["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert not spec["automountServiceAccountToken"]
    for container in spec["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.stem)
def test_selectors_and_ports_of_a_manifest_are_those_of_its_pods(file: Path) -> None:
    workload, *others = documents(file)
    labels = workload["spec"]["template"]["metadata"]["labels"]
    ports = [port for entry in workload["spec"]["template"]["spec"]["containers"] for port in entry["ports"]]
    assert workload["spec"]["selector"]["matchLabels"] == labels
    for other in others:
        spec = other["spec"]
        selector = spec.get("podSelector") or spec["selector"]
        assert selector.get("matchLabels", selector) == labels
        rules = [*spec.get("ports", []), *(port for rule in spec.get("ingress", []) for port in rule["ports"])]
        for rule in rules:
            assert rule.get("targetPort", rule["port"]) in {port["name"] for port in ports}


def test_only_inference_is_open_to_everybody() -> None:
    rules = manifest("server.yaml", "NetworkPolicy")["spec"]["ingress"]
    assert [rule["ports"] for rule in rules if "from" not in rule] == [[{"protocol": "TCP", "port": "inference"}]]
    settings = properties(DEPLOY / "config.properties")
    for private in ("management_address", "metrics_address", "grpc_inference_address", "grpc_management_address"):
        assert "127.0.0.1" in settings[private]


def test_the_pods_reach_the_redis_of_the_example() -> None:
    (redis,) = [
        rule for rule in manifest("server.yaml", "NetworkPolicy")["spec"]["egress"] if "podSelector" in rule["to"][0]
    ]
    assert redis["to"][0]["podSelector"]["matchLabels"] == pod("redis.yaml", "StatefulSet")["metadata"]["labels"]
    assert redis["ports"][0]["port"] == manifest("redis.yaml", "Service")["spec"]["ports"][0]["port"]


def test_the_redis_of_the_example_keeps_every_spent_solution() -> None:
    arguments = pod("redis.yaml", "StatefulSet")["spec"]["containers"][0]["args"]
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert options["--maxmemory-policy"] == "noeviction"
    assert (options["--appendonly"], options["--appendfsync"]) == ("yes", "everysec")


def test_pods_listen_where_the_configuration_says_and_prometheus_looks_there() -> None:
    template = pod("server.yaml", "Deployment")
    (container,) = template["spec"]["containers"]
    settings = properties(DEPLOY / "config.properties")
    ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
    environment = {entry["name"]: entry.get("value", "") for entry in container["env"]}
    assert settings["inference_address"].endswith(f":{ports['inference']}")
    assert environment["TS_METRICS_ADDRESS"].endswith(f":{ports['metrics']}")
    assert settings["metrics_address"].endswith(f":{ports['metrics']}")
    assert template["metadata"]["annotations"]["prometheus.io/port"] == ports["metrics"]
    assert template["metadata"]["annotations"]["prometheus.io/path"] == "/metrics"


def test_torchserve_knows_every_setting() -> None:
    known = torchserves_settings()
    environment = re.findall(r"\bTS_[A-Z_]+", "".join(file.read_text() for file in deployed_files()))
    names = {*properties(DEPLOY / "config.properties"), *(name.removeprefix("TS_").lower() for name in environment)}
    assert len(names) > 10
    assert {name for name in names if name.encode() not in known} == set()
    assert b"no_such_setting" not in known


def deployed_files() -> list[Path]:
    """Return the files of deploy/ that set variables of the environment."""
    return [
        DEPLOY / name
        for name in ("Dockerfile", "calpow.service", "serve.sh", "ready.py", "answers.sh", "kubernetes/server.yaml")
    ]


def test_variables_of_the_environment_are_known_to_whoever_reads_them() -> None:
    container = pod("server.yaml", "Deployment")["spec"]["containers"][0]
    by_kubernetes = {entry["name"] for entry in container["env"]}
    (block,) = re.findall(r"^ENV (HOME=.*|PATH=.*JAVA_HOME=.*)$", dockerfile(), re.MULTILINE)
    by_image = set(re.findall(r"(\w+)=", block))
    lines = re.findall(r"^Environment=(.*)$", (DEPLOY / "calpow.service").read_text(), re.MULTILINE)
    by_systemd = {name for line in lines for name in re.findall(r"(\w+)=", line)}
    for names in (by_kubernetes, by_image, by_systemd):
        assert {"OMP_NUM_THREADS", URI_VARIABLE} <= names
        assert {name for name in names - ENVIRONMENT if not name.startswith("TS_")} == set()


def test_the_image_has_every_file_that_is_named() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) (\S+)$", dockerfile(), re.MULTILINE)
    sources = [DEPLOY.parent / source for group, _ in copied for source in group.split()]
    assert [source for source in sources if not source.exists()] == []
    ignored = (DEPLOY.parent / ".dockerignore").read_text().splitlines()
    tops = {source.relative_to(DEPLOY.parent).parts[0] for source in sources}
    assert tops <= {line.removeprefix("!") for line in ignored if line.startswith("!")}
    in_image = {f"{folder}{Path(source).name}" for group, folder in copied for source in group.split()}
    texts = [file.read_text() for file in deployed_files() if file.name != "calpow.service"]
    texts += [(DEPLOY / "config.properties").read_text()]
    named = {path for text in texts for path in re.findall(rf"{IN_IMAGE}/[\w.]+\w", text)}
    assert f"{IN_IMAGE}/metrics.yaml" in named
    assert named <= in_image


def test_a_container_without_models_says_what_it_lacks(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path / "tmp")}
    script = subprocess.run([DEPLOY / "serve.sh"], env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    assert script.returncode == 2
    assert "TS_LOAD_MODELS=digits.mar" in script.stderr
    assert not (tmp_path / "tmp").exists()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "calpow.service"
    torchserve = str(Path(sys.executable).with_name("torchserve"))
    unit.write_text((DEPLOY / "calpow.service").read_text().replace("/opt/calpow/bin/torchserve", torchserve))
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=TIMEOUT)
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.server
@pytest.mark.xdist_group("site")  # whose archives it serves
def test_torchserve_starts_with_the_configuration_and_listens_where_the_environment_says(
    protected: Mapping[str, Protected], tmp_path: Path
) -> None:
    port, *others = free_ports(5)
    environment = {
        URI_VARIABLE: f"sqlite:///{tmp_path / 'ledger.db'}",
        "TS_LOAD_MODELS": "vector.mar",
        "TS_INFERENCE_ADDRESS": f"http://127.0.0.1:{port}",
    }
    with served(
        {"vector": protected["vector"].guarded},
        config=DEPLOY / "config.properties",
        properties={"metrics_config": str(DEPLOY / "metrics.yaml")},
        environment=environment,
        ports=others,
    ) as server:
        url = f"http://127.0.0.1:{port}"
        assert requests.get(f"{url}/ping", timeout=TIMEOUT).json() == {"status": "Healthy"}
        assert requests.post(f"{url}/predictions/vector", data=b"1,0,0,0", timeout=TIMEOUT).status_code == 401
        assert "calpow_answers_total" in requests.get(server.metrics, timeout=TIMEOUT).text
        assert probe(server.management, "vector.mar").returncode == 0
        several = probe(server.management, "vector.mar,other.mar")
        assert (several.returncode, several.stdout) == (1, "not ready: other is not there: TorchServe's log says why\n")
        assert f"accounts of vector are in {environment[URI_VARIABLE]}, identified by key" in server.log()
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{server.inference}/ping", timeout=TIMEOUT)
    down = probe(server.management, "vector.mar")
    assert down.returncode == 1
    assert server.management in down.stdout
    assert (
        probe(server.management, "").stdout == "not ready: TS_LOAD_MODELS names no archive: set it as for TorchServe\n"
    )


def probe(management: str, models: str) -> subprocess.CompletedProcess[str]:
    """Run the readiness probe against a server."""
    return subprocess.run(
        [sys.executable, DEPLOY / "ready.py", management],
        env={"TS_LOAD_MODELS": models},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
