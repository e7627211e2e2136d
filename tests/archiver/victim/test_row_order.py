"""The map from a batch's samples to its requests is read off payloads; it is False where they do not show it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from calpow.archiver.data.payloads import Payload
from calpow.archiver.victim.row_order import MOST_TRIED, find_rows, some_rows
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.policy.calibrated_policy import BatchRows
from calpow.handler.victim import Victim

Model = Callable[[torch.Tensor], torch.Tensor]
Ask = Callable[[Model, list[Any]], object]

BODIES = [b"1,5,2", b"4,1,1", b"0,0,9", b"4,1,1"]
NOTHING = BatchRows(in_order=False, counted=False)
IN_ORDER = BatchRows(in_order=True, counted=False)
COUNTED = BatchRows(in_order=False, counted=True)


class FirstArgument(nn.Module):
    """Answers with the first tensor of its arguments."""

    def forward(self, *arguments: object, **named: object) -> torch.Tensor:
        return ModelInputs(arguments, named).tensors[0]


class Handler:
    """Asks its model as it is told, and spoils the rows that it is given."""

    def __init__(self, ask: Ask) -> None:
        self.model = FirstArgument()
        self.context = None
        self.ask = ask

    def handle(self, data: list[dict[str, Any]], context: object) -> object:
        answers = self.ask(self.model, [row["body"] for row in data])
        for row in data:
            row.clear()
        return [0] * len(data) if answers is None else answers


def victim_that(ask: Ask) -> Victim:
    context = SimpleNamespace(metrics=SimpleNamespace())
    return Victim(SimpleNamespace(_entry_point=Handler(ask).handle, context=context))


def rows_found(ask: Ask, bodies: Sequence[object]) -> BatchRows:
    return find_rows(victim_that(ask), [{"body": body} for body in bodies])


def read(body: bytes) -> torch.Tensor:
    return torch.tensor([float(number) for number in body.decode().split(",")])


def stacked(model: Model, bodies: list[Any]) -> None:
    model(torch.stack([read(body) for body in bodies]))


def test_a_batch_that_becomes_one_row_a_request_is_in_order() -> None:
    assert rows_found(stacked, BODIES) == IN_ORDER


def one_by_one(model: Model, bodies: list[Any]) -> None:
    for body in bodies:
        model(read(body).unsqueeze(0))


def backwards(model: Model, bodies: list[Any]) -> None:
    stacked(model, bodies[::-1])


def sorted_first(model: Model, bodies: list[Any]) -> None:
    stacked(model, sorted(bodies))


def padded(model: Model, bodies: list[Any]) -> None:
    model(nn.utils.rnn.pad_sequence([read(body) for body in bodies], batch_first=True))


def centred(model: Model, bodies: list[Any]) -> None:
    values = torch.stack([read(body) for body in bodies])
    model(values - values.mean())


def shaken(model: Model, bodies: list[Any]) -> None:
    model(torch.stack([read(body) + torch.rand(3) for body in bodies]))


def alone_only(model: Model, bodies: list[Any]) -> None:
    if len(bodies) > 1:
        raise ValueError("one at a time, please")
    stacked(model, bodies)


def warmed_up(model: Model, bodies: list[Any]) -> None:
    if len(bodies) > 1:
        model(torch.zeros(1, 3))
    stacked(model, bodies)


def doubled(model: Model, bodies: list[Any]) -> None:
    stacked(model, [body for body in bodies for _ in range(2)])


def blind(model: Model, bodies: list[Any]) -> None:
    model(torch.ones(len(bodies), 3))


def silent(model: Model, bodies: list[Any]) -> None:
    pass


def short(model: Model, bodies: list[Any]) -> object:
    stacked(model, bodies)
    return [0] * (len(bodies) - 1) if len(bodies) > 1 else None


def shared_tensor(model: Any, bodies: list[Any]) -> None:
    model(torch.stack([read(body) for body in bodies]), torch.ones(3, 3))


def offsets(model: Any, bodies: list[Any]) -> None:
    rows = [read(body) for body in bodies]
    model(torch.cat(rows), torch.tensor([0, *[len(row) for row in rows[:-1]]]).cumsum(0))


def masked_by_neighbour(model: Any, bodies: list[Any]) -> None:
    rows = torch.stack([read(body) for body in bodies])
    model(rows, mask=rows.roll(1, 0) > 1)


@pytest.mark.parametrize(
    "ask",
    [
        one_by_one,
        backwards,
        sorted_first,
        centred,
        shaken,
        alone_only,
        warmed_up,
        doubled,
        blind,
        silent,
        short,
        shared_tensor,
        offsets,
        masked_by_neighbour,
    ],
)
def test_a_handler_that_does_otherwise_with_a_batch_is_not_in_order(ask: Ask) -> None:
    assert rows_found(ask, BODIES) == NOTHING


@pytest.mark.parametrize("structure", ["tuple", "dict", "names"])
def test_a_batch_of_several_tensors_with_a_row_for_each_request_is_in_order(structure: str) -> None:
    def structured(model: Any, bodies: list[Any]) -> None:
        rows = torch.stack([read(body) for body in bodies])
        mask = (rows > 1).long()
        if structure == "names":
            model(rows=rows, mask=mask)
        else:
            model((rows, mask) if structure == "tuple" else {"rows": rows, "mask": mask})

    assert rows_found(structured, BODIES) == IN_ORDER


def test_rows_that_differ_in_any_tensor_show_the_order() -> None:
    def typed(model: Any, bodies: list[Any]) -> None:
        rows = torch.stack([read(body) for body in bodies])
        model(torch.ones(len(bodies), 2), rows.long())

    assert rows_found(typed, BODIES) == IN_ORDER


def test_rows_that_are_padded_to_their_batch_are_not_in_order() -> None:
    assert rows_found(padded, [*BODIES, b"1,2,3,4,5"]) == NOTHING


@pytest.mark.parametrize(
    "bodies", [BODIES[:1], [BODIES[0]] * 3, [*BODIES, b"no numbers"]], ids=["one", "copies", "unreadable"]
)
def test_payloads_that_cannot_show_the_order_do_not(bodies: Sequence[bytes]) -> None:
    assert rows_found(stacked, bodies) == NOTHING


def lines(model: Model, bodies: list[Any]) -> None:
    model(torch.stack([read(line) for body in bodies for line in body.splitlines()]))


def test_a_handler_that_reads_several_samples_from_one_file_is_not_in_order() -> None:
    assert rows_found(lines, BODIES) == NOTHING


def lists(model: Model, bodies: list[Any]) -> None:
    instances = [body["instances"] if isinstance(body, dict) else body for body in bodies]
    model(torch.tensor([vector for vectors in instances for vector in vectors]))


def test_lists_whose_entries_are_samples_are_counted() -> None:
    assert rows_found(lists, [[[1.0], [2.0]], {"instances": [[3.0], [4.0], [5.0]]}]) == COUNTED


def test_lists_of_one_entry_are_counted_and_in_order() -> None:
    assert rows_found(lists, [[[1.0]], {"instances": [[3.0]]}]) == BatchRows(in_order=True, counted=True)


def test_a_list_that_is_one_sample_is_not_counted() -> None:
    def vectors(model: Model, bodies: list[Any]) -> None:
        model(torch.tensor(bodies))

    assert rows_found(vectors, [[1.0, 2.0], [3.0, 4.0]]) == IN_ORDER


def test_one_list_of_another_number_of_samples_is_enough_not_to_count() -> None:
    def distinct(model: Model, bodies: list[Any]) -> None:
        model(torch.tensor([[number] for number in sorted({number for body in bodies for (number,) in body})]))

    assert rows_found(distinct, [[[1.0], [2.0]], [[3.0], [3.0]]]) == NOTHING
    assert rows_found(lists, [[[1.0], [2.0]], ["no vector"]]) == NOTHING


def test_payloads_without_a_list_say_nothing_about_lists() -> None:
    def mixed(model: Model, bodies: list[Any]) -> None:
        lists(model, [[read(body).tolist()] if isinstance(body, bytes) else body for body in bodies])

    assert rows_found(mixed, [b"1,2", b"2,3"]) == IN_ORDER
    assert rows_found(mixed, [b"1,2", b"2,3", [[4.0, 5.0], [6.0, 7.0]]]) == COUNTED


def test_a_few_payloads_are_tried_chosen_by_the_seed(tmp_path: Path) -> None:
    payloads = []
    for number in range(40):
        path = tmp_path / f"{number}.txt"
        path.write_text(str(number))
        payloads.append(Payload(path, 0, str(number)))
    chosen = some_rows(payloads, 3)
    assert len(chosen) == MOST_TRIED == len({row["body"] for row in chosen})
    assert chosen == some_rows(payloads, 3) != some_rows(payloads, 4)
    assert len(some_rows(payloads[:5], 3)) == 5


def test_a_list_of_numbers_is_one_sample_where_the_model_takes_no_batches() -> None:
    """Three numbers and three answers are one sample, not three."""

    def ask(model: Model, bodies: list[Any]) -> None:
        for body in bodies:
            model(torch.tensor(body))

    assert rows_found(ask, [[1.0, 5.0, 2.0], [4.0, 1.0, 1.0], [0.0, 0.0, 9.0]]) == NOTHING
