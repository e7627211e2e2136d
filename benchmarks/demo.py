"""The demo: train, protect, serve, use and attack a model of scikit-learn's optical digits, and compare.

python -m benchmarks.demo            protect, let users and attackers query, compare, stop
python -m benchmarks.demo --serve    protect and leave the server running
"""

import argparse
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.digits import attacks
from benchmarks.digits import victim as digits_victim
from benchmarks.pages import pages
from benchmarks.picture import draw
from benchmarks.users import Caller, UserHistory, run
from calpow.archiver.server import Server, free_ports, served
from calpow.client.cli.main import main as calpow
from calpow.client.cli.main import silence_libraries
from calpow.handler.ledger.uri import open_ledger

ROOT = Path(__file__).resolve().parents[1]
# Paths are printed and given to the commands as one would type them in the project's folder.
HOME = Path("demo")
STORE = Path("model_store")
CONFIG = Path("config.properties")
MODEL = "digits"
TEACHERS = 50
QUERIES = 300
# Written when the model is protected, so that it need not be protected again to be served.
PROTECTED = HOME / "protected"
SOURCES = ("puzzle", "handler", "archiver", "benchmarks/digits")
# A user is stopped after this many seconds; the multiple is clear by then.
PATIENCE_SECONDS = 30.0
# Payments grow with the queries: the multiple of the last answers is shown beside the whole.
LAST = 10
DEFAULT_PORTS = (8080, 8081, 8082, 7070)
# What pages of another origin need to ask: docs/operating.md.
CORS = {"cors_allowed_methods": "POST", "cors_allowed_headers": "X-Api-Key, PoW-Solution, Content-Type"}


def main() -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(prog="benchmarks.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--serve", action="store_true", help="leave the protected model running")
    serve_only = parser.parse_args().serve
    os.chdir(ROOT)
    HOME.mkdir(exist_ok=True)
    silence_libraries()
    started = time.monotonic()
    if serve_only:
        if not is_protected():
            protect()
        keep_accounts(HOME.resolve())
        serve(HOME / "users")
        return 0
    protect()
    # A new ledger: the accounts of an earlier run would keep their prices.
    with TemporaryDirectory(prefix="calpow-demo-") as fresh:
        keep_accounts(Path(fresh))
        with served({MODEL: STORE / f"{MODEL}.mar", "unprotected": HOME / "victim.mar"}, config=CONFIG) as server:
            records = compare(server, HOME / "users")
    picture = HOME / "work.png"
    draw(records, picture)
    print(f"\nThe same as a picture: {picture}")
    print(f"The server is stopped. All in {time.monotonic() - started:.0f} s.")
    return 0


def keep_accounts(folder: Path) -> None:
    """Set the ledger of the server and of this program."""
    os.environ["CALPOW_LEDGER"] = f"sqlite:///{folder / 'ledger.db'}"


def protect() -> None:
    """Protect the model, with the commands that an owner would type."""
    heading("1. A victim: a network on scikit-learn's digits, archived with torch-model-archiver")
    trained = digits_victim.build(HOME)
    print(f"demo/victim.mar reads {trained.accuracy:.1%} of the held-out digits right.")
    data, calibration = HOME / "victim-train", HOME / "calibration"
    victim, teachers, measured = HOME / "victim.mar", HOME / "teachers.pt", HOME / "calibration.json"
    heading("2. Protect it")
    command("teachers", "--victim", victim, "--data", data, "--teachers", str(TEACHERS), "--output", teachers)
    command("calibrate", "--victim", victim, "--ensemble", teachers, "--data", calibration, "--output", measured)
    parts = ("--victim", victim, "--ensemble", teachers, "--calibration", measured)
    command("archive", *parts, "--model-name", MODEL, "--export-path", STORE, "--force")
    PROTECTED.write_text(state())


def is_protected() -> bool:
    """Return whether the archive that this version of the demo makes is there already."""
    return PROTECTED.is_file() and PROTECTED.read_text() == state()


def state() -> str:
    """Return a digest of the archive and of the code that makes it."""
    digest = sha256()
    sources = [file for folder in SOURCES for file in sorted((ROOT / folder).rglob("*.py"))]
    for file in [*sources, Path(__file__), STORE / f"{MODEL}.mar"]:
        digest.update(file.read_bytes() if file.is_file() else b"missing")
    return digest.hexdigest()


def command(*words: str | Path) -> None:
    """Print a calpow command as it would be typed, and run it."""
    typed = [str(word) for word in words]
    print(f"\n$ calpow {' '.join(typed)}", flush=True)
    if calpow(typed) != 0:
        raise SystemExit(1)


def compare(server: Server, users: Path) -> list[UserHistory]:
    """Run the users, honest ones first, and print a line for each of them."""
    heading("3. Users and thieves query it over HTTP")
    ledger = open_ledger(os.environ["CALPOW_LEDGER"])
    records = []
    print(f"{'user':<28}{'queries':>8}{'same answers':>14}{'without':>10}{'with':>10}{'multiple':>11}{'last ten':>11}")
    for name, honest, payloads in cast(users):
        record = UserHistory(name, honest)
        caller = Caller(server.url(MODEL), server.url("unprotected"), ledger.add_key(name))
        run(record, caller, payloads, PATIENCE_SECONDS, show_live)
        print(f"\r{line(record)}", flush=True)
        records.append(record)
    return records


def cast(users: Path) -> Iterator[tuple[str, bool, list[bytes]]]:
    """Yield the users: name, whether honest, and payloads."""
    rng = np.random.default_rng(7)
    digits = sorted(users.rglob("*.png"))
    yield "honest, all digits", True, pick(digits, rng)
    sevens = sorted((users / "7").rglob("*.png"))
    yield "honest, only sevens", True, pick(sevens, rng)
    for kind, name in (("natural", "thief, natural images"), ("letters", "thief, letters"), ("noise", "thief, noise")):
        yield name, False, attacks.payloads(kind, QUERIES)


def pick(files: Sequence[Path], rng: np.random.Generator) -> list[bytes]:
    """Return QUERIES different payloads in random order."""
    chosen = rng.permutation(len(files))[:QUERIES]
    return [files[index].read_bytes() for index in chosen]


def line(record: UserHistory) -> str:
    """Return a user's line of the table."""
    return (
        f"{record.name:<28}{len(record.queries):>8}{record.matching:>14}"
        f"{record.unprotected_seconds:>8.2f} s{record.protected_seconds:>8.2f} s"
        f"{record.multiple:>10,.1f}x{record.last(LAST).multiple:>10,.1f}x"
    )


def show_live(record: UserHistory) -> None:
    """Redraw the user's line on a terminal from time to time."""
    if sys.stdout.isatty() and (len(record.queries) % 10 == 0 or not record.honest):
        print(f"\r{line(record)}", end="", flush=True)


def serve(users: Path) -> None:
    """Serve the protected model and a page that queries it until Ctrl-C, and print how to use them."""
    ledger = open_ledger(os.environ["CALPOW_LEDGER"])
    key = ledger.add_key("demo")
    example = sorted(users.rglob("*.png"))[0]
    archives = {MODEL: STORE / f"{MODEL}.mar"}
    documents: dict[str, bytes] = {}
    with pages(documents) as site:
        properties = {**CORS, "cors_allowed_origin": site}
        with served(archives, config=CONFIG, properties=properties, ports=usable_ports()) as server:
            url = server.url(MODEL)
            documents["/demo.json"] = json.dumps({"url": url, "key": key}).encode()
            heading(f"3. The protected model is up at {url}; Ctrl-C stops it")
            print(instructions(url, key, str(example), site), flush=True)
            with suppress(KeyboardInterrupt):
                server.process.wait()
    print("stopped")


def instructions(url: str, key: str, example: str, site: str) -> str:
    """Return what to open in a browser, and lines to paste into a terminal in the project's folder."""
    return f"""
Draw a digit in a browser, with the key {key}, which the page already has:
  {site}/demo.html
Ask without work, and keep the challenge:
  curl -m 10 -s -H 'X-Api-Key: {key}' -T {example} {url} -o challenge.json; cat challenge.json
Solve it and ask again:
  curl -m 10 -s -H 'X-Api-Key: {key}' -H "$(.venv/bin/calpow solve challenge.json)" -T {example} {url}
Or both at once:
  .venv/bin/calpow predict --key {key} {url} {example}
"""


def usable_ports() -> Sequence[int]:
    """Return the ports of config.properties if they are free, else others."""
    with suppress(OSError), occupied(DEFAULT_PORTS):
        return DEFAULT_PORTS
    return free_ports(len(DEFAULT_PORTS))


@contextmanager
def occupied(ports: Sequence[int]) -> Iterator[None]:
    """Context manager that holds ports. Raises OSError when one is taken."""
    sockets = [socket.socket() for _ in ports]
    try:
        for listener, port in zip(sockets, ports, strict=True):
            listener.bind(("127.0.0.1", port))
        yield
    finally:
        for listener in sockets:
            listener.close()


def heading(text: str) -> None:
    """Print a heading."""
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
