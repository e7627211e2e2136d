"""An explanation is priced by all that its request holds, or refused."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from calpow.handler.victim import Victim


class RowByRow:
    """Reads one row after another, or all of them at once."""

    def __init__(self, *, at_once: bool) -> None:
        self.model, self.context, self.at_once = nn.Identity(), None, at_once

    def preprocess(self, rows: list[Any]) -> torch.Tensor:
        return torch.tensor([[float(row["body"])] for row in rows])

    def handle(self, data: list[Any], context: object) -> list[int]:
        for rows in [data] if self.at_once else [[row] for row in data]:
            self.model(self.preprocess(rows))
        return [0] * len(data)


def preprocessed(*, at_once: bool) -> object:
    context = SimpleNamespace(metrics=SimpleNamespace())
    victim = Victim(SimpleNamespace(_entry_point=RowByRow(at_once=at_once).handle, context=context))
    return victim.run([{"body": b"1"}, {"body": b"2"}], [("a", {}), ("b", {})], explaining=True).preprocessed


def test_the_result_of_one_call_of_preprocess_is_priced() -> None:
    result = preprocessed(at_once=True)
    assert isinstance(result, torch.Tensor)
    assert result.tolist() == [[1.0], [2.0]]


def test_one_result_of_several_calls_is_not() -> None:
    assert preprocessed(at_once=False) is None
