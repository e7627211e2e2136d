"""The table of the speed benchmark shows what batches gain."""

from benchmarks.serving.load import BATCHED_CONNECTIONS, BatchedRound
from benchmarks.speed.speed_table import batched_lines


def test_rates_with_batches_are_medians_of_the_rounds() -> None:
    rounds = [
        BatchedRound(connections, 1_000.0, prepaid)
        for prepaid in (400, 500, 900)
        for connections in BATCHED_CONNECTIONS
    ]
    *_, row = batched_lines(rounds)
    assert row.split()[-6:] == ["1,000", "500", "0.50"] * 2
