"""What is priced is computed once: the paid answer is made of it, to the byte, and nobody gets another's output."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from calpow.archiver.served import Server, served
from calpow.client import PowAuth
from calpow.handler.ledger import open_ledger
from calpow.handler.memory import OutputMemory
from calpow.puzzle.challenge import Challenge, format_solution
from calpow.puzzle.solver import solve
from tests.guarded import TIMEOUT, protect, train_teachers
from tests.victims import build as victims

NUMBERS = st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 3.0]), min_size=3, max_size=3)
BATCHES = st.lists(NUMBERS, min_size=1, max_size=4).map(torch.tensor)


def answer(inputs: Tensor) -> Tensor:
    """What the function gives: the place of each number counts, its sum does not tell."""
    return inputs.double() @ torch.tensor([[1.0], [10.0], [100.0]], dtype=torch.float64)


def missing() -> Tensor:
    raise LookupError


def remembers(memory: OutputMemory, inputs: Tensor) -> bool:
    try:
        memory.recall(inputs, missing)
    except LookupError:
        return False
    return True


@given(asked=st.lists(st.tuples(st.booleans(), BATCHES), max_size=30), most=st.sampled_from([0, 20, 60, 10_000]))
def test_whatever_is_kept_and_asked_the_answer_is_that_of_the_very_input(
    asked: list[tuple[bool, Tensor]], most: int
) -> None:
    memory = OutputMemory(most)
    for keep, inputs in asked:
        if keep:
            memory.keep(inputs, answer(inputs))
        else:
            given = memory.recall(inputs, lambda inputs=inputs: answer(inputs))  # type: ignore[misc]  # inferred
            assert isinstance(given, Tensor)
            assert torch.equal(given, answer(inputs))


def test_an_output_is_used_once_and_then_forgotten() -> None:
    memory, inputs = OutputMemory(), torch.rand(3, 4)
    memory.keep(inputs, inputs * 2)
    assert torch.equal(torch.as_tensor(memory.recall(inputs, missing)), inputs * 2)
    assert not remembers(memory, inputs)


def test_samples_priced_together_are_answered_apart_and_the_other_way_round() -> None:
    memory, inputs = OutputMemory(), torch.rand(4, 5)
    memory.keep(inputs, inputs + 1)
    assert torch.equal(torch.as_tensor(memory.recall(inputs[2:3], missing)), inputs[2:3] + 1)
    assert not remembers(memory, inputs), "all of them, or it is computed"
    memory.keep(inputs[2:3], inputs[2:3] + 1)
    assert torch.equal(torch.as_tensor(memory.recall(inputs.flip(0), missing)), inputs.flip(0) + 1)


def test_one_sample_twice_in_a_batch_is_answered_twice() -> None:
    memory, row = OutputMemory(), torch.rand(1, 4)
    twice = torch.cat([row, row])
    memory.keep(twice, twice * 3)
    assert torch.equal(torch.as_tensor(memory.recall(twice, missing)), twice * 3)
    assert not remembers(memory, row)


def test_samples_of_equal_sum_never_get_each_others_output() -> None:
    memory, first, second = OutputMemory(), torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 1.0]])
    memory.keep(first, torch.tensor([[12.0]]))
    assert not remembers(memory, second)
    assert remembers(memory, first), "the wrong guess did not cost it"
    both = torch.cat([first, second])
    memory.keep(both, torch.tensor([[12.0], [21.0]]))
    assert not remembers(memory, both)


@pytest.mark.parametrize(
    "kind", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float32, torch.float64, torch.complex64]
)
def test_inputs_of_every_type_are_remembered_and_only_for_their_own_type(kind: torch.dtype) -> None:
    memory, inputs = OutputMemory(), torch.ones(2, 3, dtype=kind)
    memory.keep(inputs, torch.rand(2, 1))
    assert not remembers(memory, torch.ones(2, 3, dtype=torch.bfloat16))
    assert remembers(memory, inputs)


@pytest.mark.parametrize(
    "outputs", [torch.rand(3, 2), torch.rand(1, 2), torch.tensor(1.0)], ids=["more", "less", "one"]
)
def test_outputs_that_are_not_one_a_sample_are_not_kept(outputs: Tensor) -> None:
    memory, inputs = OutputMemory(), torch.rand(2, 4)
    memory.keep(inputs, outputs)
    assert not remembers(memory, inputs)


@pytest.mark.parametrize(
    "odd",
    [torch.tensor(1.0), torch.ones(3), torch.ones(0, 3), torch.eye(3).to_sparse(), torch.full((1, 2), float("nan"))],
    ids=["number", "row", "empty", "sparse", "nan"],
)
def test_what_is_no_batch_of_numbers_is_computed(odd: Tensor) -> None:
    memory = OutputMemory()
    memory.keep(odd, odd)
    assert not remembers(memory, odd)


def test_where_gradients_are_wanted_the_output_is_computed() -> None:
    memory, inputs = OutputMemory(), torch.rand(2, 3)
    memory.keep(inputs, inputs)
    assert not remembers(memory, inputs.clone().requires_grad_())


def test_what_is_changed_in_place_afterwards_was_copied_before() -> None:
    memory, inputs = OutputMemory(), torch.rand(2, 3)
    outputs = inputs * 2
    memory.keep(inputs, outputs)
    before = inputs.clone()
    inputs.zero_()
    outputs.zero_()
    assert not remembers(memory, inputs)
    given = torch.as_tensor(memory.recall(before, missing))
    assert torch.equal(given, before * 2)


def test_the_oldest_make_room_and_no_more_is_held_than_allowed() -> None:
    inputs = torch.arange(10.0).unsqueeze(1)
    memory = OutputMemory(most_bytes=3 * 8)
    for row in inputs:
        memory.keep(row[None], -row[None])
    assert [remembers(memory, row[None]) for row in inputs] == [False] * 7 + [True] * 3
    memory.keep(torch.rand(1, 100), torch.rand(1, 1))
    memory.keep(inputs[:1], -inputs[:1])
    assert remembers(memory, inputs[:1]), "one that is too large for it leaves nothing behind"


@given(order=st.permutations(range(6)), cut=st.integers(1, 5), parts=st.integers(1, 6))
def test_outputs_come_back_in_whatever_batches_they_are_asked_for(order: list[int], cut: int, parts: int) -> None:
    memory, inputs = OutputMemory(), torch.arange(18.0).reshape(6, 3)
    for batch in (inputs[:cut], inputs[cut:]):
        memory.keep(batch, answer(batch))
    for batch in inputs[order].tensor_split(parts):
        assert torch.equal(torch.as_tensor(memory.recall(batch, missing)), answer(batch))


def test_room_is_free_again_once_a_batch_is_answered() -> None:
    inputs = torch.arange(18.0).reshape(6, 3)
    memory = OutputMemory(most_bytes=inputs.nbytes + answer(inputs).nbytes)
    for _ in range(3):
        memory.keep(inputs, answer(inputs))
        assert remembers(memory, inputs[3:])
        assert remembers(memory, inputs[:3])


@dataclass(frozen=True)
class Counted:
    """A server with victims that note what they are asked, and with one whose answers are random."""

    server: Server
    passes: Path
    key: str

    def noted(self) -> list[str]:
        """All samples that victims were asked about, in order."""
        return self.passes.read_text().split() if self.passes.exists() else []

    def post(self, model: str, payload: str, **options: object) -> requests.Response:
        url = self.server.url(model) if "url" not in options else options.pop("url")
        return requests.post(str(url), data=payload.encode(), timeout=TIMEOUT, **options)  # type: ignore[arg-type]

    def paid(self, model: str, payload: str, headers: dict[str, str]) -> requests.Response:
        return self.post(model, payload, headers=headers)

    def solution(self, model: str, payload: str) -> dict[str, str]:
        """Headers that pay for a payload."""
        refused = self.post(model, payload, headers={"X-Api-Key": self.key})
        challenge = Challenge.from_problem(refused.content)
        return {"X-Api-Key": self.key, "PoW-Solution": format_solution(challenge.token, solve(challenge.puzzle))}


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counted]:
    folder = tmp_path_factory.mktemp("counted")
    (folder / "guarded").mkdir()
    one = victims.counting(folder, "one", workers=1, batch=4)
    two = victims.counting(folder, "two", workers=2, batch=1)
    chancy = victims.random(folder)
    teachers = train_teachers(folder, one, victims.vectors(folder / "vectors"))
    made = {each.stem: protect(folder / "guarded", each.stem, each, teachers).guarded for each in (one, two, chancy)}
    uri = f"sqlite:///{folder / 'ledger.db'}"
    environment = {"CALPOW_LEDGER": uri, "PASSES": str(folder / "passes")}
    with served({**made, "plain": one}, environment=environment) as server:
        yield Counted(server, folder / "passes", open_ledger(uri).add_key("ada"))


@pytest.mark.parametrize("payload", ["0.1,0.9,0.25,0.3", "1,2,3,4 4,3,2,9 1,2,3,4"], ids=["one", "three"])
def test_a_paid_answer_is_the_unprotected_one_after_a_single_pass(counted: Counted, payload: str) -> None:
    plain = counted.post("plain", payload)
    before = counted.noted()
    paid = counted.post("one", payload, auth=PowAuth(counted.key))
    assert (paid.status_code, paid.content) == (200, plain.content)
    assert counted.noted()[len(before) :] == payload.split()


def test_an_answer_is_right_and_computed_anew_when_it_is_asked_again(counted: Counted) -> None:
    payload = "0.7,0.9,0.25,0.3"
    plain = counted.post("plain", payload)
    for _ in range(3):
        before = counted.noted()
        assert counted.post("one", payload, auth=PowAuth(counted.key)).content == plain.content
        assert counted.noted()[len(before) :] == [payload], "what postprocess did to the last one is gone"


def test_what_the_victims_pass_leaves_of_its_input_is_nobodys_answer(counted: Counted) -> None:
    """The victim zeroes its input: an output remembered for that would answer whoever asks about zeros."""
    counted.post("one", "5,1,1,1", headers={"X-Api-Key": counted.key})
    zeros = "0,0,0,0"
    assert counted.post("one", zeros, auth=PowAuth(counted.key)).content == counted.post("plain", zeros).content


def test_samples_of_equal_sum_in_company_get_their_own_answers(counted: Counted) -> None:
    payloads = ["1,2,3,4", "4,3,2,1", "2,1,4,3", "3,4,1,2"]
    plain = [counted.post("plain", each).content for each in payloads]
    ready = [counted.solution("one", each) for each in payloads]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda each: counted.paid("one", *each), zip(payloads, ready, strict=True)))
    assert [each.content for each in answers] == plain


def test_a_batch_is_answered_as_it_is_unprotected_and_after_a_single_pass_each(counted: Counted) -> None:
    payloads = [f"0.{number},0.9,0.5,{number}" for number in range(1, 9)]
    plain = [counted.post("plain", each).content for each in payloads]
    before = counted.noted()
    with ThreadPoolExecutor(8) as pool:
        ready = list(pool.map(lambda each: counted.solution("one", each), payloads))
        answers = list(pool.map(lambda each: counted.paid("one", *each), zip(payloads, ready, strict=True)))
    assert [each.content for each in answers] == plain
    assert sorted(counted.noted()[len(before) :]) == sorted(payloads)


def test_a_payload_paid_for_at_another_worker_is_answered_all_the_same(counted: Counted) -> None:
    payloads = [f"0.{number},0.1,0.5,0.2" for number in range(1, 9)]
    plain = [counted.post("plain", each).content for each in payloads]
    before = counted.noted()
    with ThreadPoolExecutor(4) as pool:
        ready = list(pool.map(lambda each: counted.solution("two", each), payloads))
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda each: counted.paid("two", *each), zip(payloads, ready, strict=True)))
    assert [each.content for each in answers] == plain
    assert 8 <= len(counted.noted()) - len(before) <= 16


def test_explanations_are_not_made_of_remembered_answers(counted: Counted) -> None:
    payload = "0.5,-2,0.25,0.125"
    counted.post("one", payload, headers={"X-Api-Key": counted.key})
    url = f"{counted.server.inference}/explanations/one"
    explained = counted.post("one", payload, url=url, auth=PowAuth(counted.key))
    assert (explained.status_code, json.loads(explained.content)) == (200, [0.5, 2.0, 0.25, 0.125])
    plain = counted.post("plain", payload)
    assert counted.post("one", payload, auth=PowAuth(counted.key)).content == plain.content


def test_a_victim_with_random_answers_is_guarded_too(counted: Counted) -> None:
    answers = [counted.post("random", "1,2,3,4", auth=PowAuth(counted.key)) for _ in range(2)]
    assert [each.status_code for each in answers] == [200, 200]
    first, second = (json.loads(each.content) for each in answers)
    assert first != second
    assert first == pytest.approx(second, abs=1.0)
