"""The attack of docs/research.md runs when it is pasted, against the demo's digits on a real server."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.digits import victim as digits_victim
from calpow.archiver.server import Server, served
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.uri import open_ledger
from tests.support.guarded import protect, train_teachers

pytestmark = [pytest.mark.server, pytest.mark.training, pytest.mark.long]

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "research.md"
URL = "http://127.0.0.1:8080/predictions/digits"


@dataclass(frozen=True)
class Shop:
    """A server of the protected digits, and its ledger."""

    server: Server
    ledger: Ledger

    def run(self, account: str, limit: str = "2**30") -> str:
        """Run the document's program as an account, with a limit of hashes; return what it prints."""
        (program,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
        program = program.replace(URL, self.server.url("digits")).replace("2**30", limit)
        program = f"key = {self.ledger.add_key(account)!r}\n{program}"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The demo's digits, protected with few teachers; every answer takes 200 hashes."""
    folder = tmp_path_factory.mktemp("digits")
    digits_victim.build(folder)
    teachers = train_teachers(folder, folder / "victim.mar", folder / "victim-train")
    guarded = protect(folder, "digits", folder / "victim.mar", teachers).guarded
    uri = f"sqlite:///{folder / 'ledger.db'}"
    with served({"digits": guarded}, environment={"CALPOW_LEDGER": uri}) as server:
        yield Shop(server, open_ledger(uri))


def test_the_program_steals_and_says_what_it_spent(shop: Shop) -> None:
    printed = shop.run("thief")
    spent = re.search(r"Spending\(queries=200, hashes=(\d+), seconds=[\d.]+\)", printed)
    assert spent, printed
    assert int(spent[1]) >= 200 * 200
    assert shop.ledger.account("digits", "thief").history.queries == 200


def test_the_program_trains_on_what_it_could_pay_for(shop: Shop) -> None:
    printed = shop.run("poor", "10_000")
    assert "more than the limit" in printed
    spent = re.search(r"Spending\(queries=(\d+), hashes=(\d+)", printed)
    assert spent, printed
    assert 20 <= int(spent[1]) <= 60
    assert int(spent[2]) <= 11_000
