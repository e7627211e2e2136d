"""A flood of first contacts that never pay delays a payer by little."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.serving.flood import FloodFigures, fronted, measure, table
from calpow.archiver.server import served
from calpow.handler.ledger.uri import open_ledger
from tests.support.guarded import protect, train_teachers
from tests.support.victims import build as victims

# The goal is 1.5. Beside other programs, the flood and the server want more cores than there are.
MOST = 2.5
ROUNDS = 2
# A pass takes so many seconds more, as on a device that the worker waits for.
HANDLER = """import time

from vector_handler import VectorHandler


class SlowHandler(VectorHandler):
    def inference(self, data, *args, **kwargs):
        time.sleep(SECONDS)
        return super().inference(data)
"""


@pytest.mark.server
@pytest.mark.timing
@pytest.mark.parametrize(("seconds", "behind_nginx", "contacts"), [(0.02, False, 2_000), (0.0, True, 600)])
def test_a_flood_of_first_contacts_delays_a_payer_by_little(
    tmp_path: Path, seconds: float, behind_nginx: bool, contacts: int
) -> None:
    handler = tmp_path / "slow_handler.py"
    handler.write_text(HANDLER.replace("SECONDS", str(seconds)))
    victim = victims.with_handler(tmp_path, handler)
    (tmp_path / "guarded").mkdir()
    teachers = train_teachers(tmp_path, victim, victims.vectors(tmp_path / "vectors"))
    guarded = protect(tmp_path / "guarded", "slow", victim, teachers).guarded
    uri = f"sqlite:///{tmp_path / 'ledger.db'}"
    payloads = [b"0.%d,0.9,0.3,0.2" % number for number in range(1, 50)]
    with ExitStack() as stack:
        server = stack.enter_context(served({"slow": guarded}, environment={"CALPOW_LEDGER": uri}))
        url = server.url("slow")
        if behind_nginx:
            url = stack.enter_context(fronted(server, "slow", tmp_path / "nginx"))
        figures = measure(url, open_ledger(uri), payloads, contacts, ROUNDS)
    assert len(figures.beside) > 50
    assert figures.ratio < MOST, "\n".join(table(figures))


def test_the_table_has_the_medians_and_their_ratio() -> None:
    figures = FloodFigures((0.010,) * 9, (0.014,) * 9, 800.0, (0.5, 2.0))
    lines = table(figures)
    assert lines[1].split() == ["alone", "9", "10.00", "10.00", "10.00"]
    assert "ratio of medians 1.40; 800 requests of the flood a second" in lines
