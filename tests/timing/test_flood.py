"""A flood of first contacts that never pay delays a payer by little."""

from pathlib import Path

import pytest

from benchmarks.serving.flood import FloodFigures, measure, table
from calpow.archiver.server import served
from calpow.handler.ledger.uri import open_ledger
from tests.support.guarded import protect, train_teachers
from tests.support.victims import build as victims

# The goal is 1.5. Beside other programs, the flood and the server want more cores than there are.
MOST = 2.5
CONTACTS = 2_000
ROUNDS = 2
# A pass takes 20 ms, as on a device that the worker waits for.
HANDLER = """import time

from vector_handler import VectorHandler


class SlowHandler(VectorHandler):
    def inference(self, data, *args, **kwargs):
        time.sleep(0.02)
        return super().inference(data)
"""


@pytest.mark.server
@pytest.mark.timing
def test_a_flood_of_first_contacts_delays_a_payer_by_little(tmp_path: Path) -> None:
    handler = tmp_path / "slow_handler.py"
    handler.write_text(HANDLER)
    victim = victims.with_handler(tmp_path, handler)
    (tmp_path / "guarded").mkdir()
    teachers = train_teachers(tmp_path, victim, victims.vectors(tmp_path / "vectors"))
    guarded = protect(tmp_path / "guarded", "slow", victim, teachers).guarded
    uri = f"sqlite:///{tmp_path / 'ledger.db'}"
    payloads = [b"0.%d,0.9,0.3,0.2" % number for number in range(1, 50)]
    with served({"slow": guarded}, environment={"CALPOW_LEDGER": uri}) as server:
        figures = measure(server, "slow", open_ledger(uri), payloads, CONTACTS, ROUNDS)
    assert len(figures.beside) > 50
    assert figures.ratio < MOST, "\n".join(table(figures))


def test_the_table_has_the_medians_and_their_ratio() -> None:
    figures = FloodFigures((0.010,) * 9, (0.014,) * 9, 800.0, (0.5, 2.0))
    lines = table(figures)
    assert lines[1].split() == ["alone", "9", "10.00", "10.00", "10.00"]
    assert "ratio of medians 1.40; 800 first contacts a second" in lines
