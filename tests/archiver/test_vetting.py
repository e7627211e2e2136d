"""Thieves among recorded accounts are found, honest ones are kept, and what is learnt is what there is without them."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calpow.archiver.calibration.recorded_samples import (
    LEAST_CAP,
    Recorded,
    RecordsError,
    Vetted,
    read_records,
    vet_records,
)
from calpow.archiver.calibration.simulated_users import (
    RECORDED,
    Course,
    Floats,
    account_means,
    between_spread,
    simulate_accounts,
)
from calpow.handler.observe.records import Record, append

CLASSES = tuple("abcde")
CEILINGS = np.array([3.645, 2.0])
METER = "9f2c41ab"

Odd = Callable[[np.random.Generator, int], Floats]


def honest_costs(rng: np.random.Generator, labels: np.ndarray, peculiar: float) -> Floats:
    """Skewed costs by two metrics that differ between classes, and a little between users."""
    mean = np.stack([0.4 + 0.15 * labels, 0.1 + 0.05 * labels], axis=1) * (1 + peculiar)
    costs: Floats = np.minimum(rng.exponential(mean), CEILINGS)
    return costs


def crowd(rng: np.random.Generator, users: int, thieves: int, odd_share: float = 1.0, length: int = 200) -> Recorded:
    """Users `u0`... with class mixtures of their own, and thieves `t0`... who mostly get one class for an answer."""
    costs, labels, owners = [], [], []
    for number in range(users + thieves):
        n = int(rng.integers(length // 4, 2 * length))
        mine = rng.choice(5, n, p=rng.dirichlet(np.full(5, 0.5)))
        cost = honest_costs(rng, mine, rng.normal(0, 0.05))
        if number >= users:
            odd = rng.random(n) < odd_share
            cost = np.where(odd[:, None], CEILINGS * rng.uniform(0.5, 1.0, (n, 1)), cost)
            mine = np.where(odd & (rng.random(n) < 0.8), 3, mine)
        costs.append(cost)
        labels.append(mine)
        owners += [number] * n
    names = tuple(f"u{i}" for i in range(users)) + tuple(f"t{i}" for i in range(thieves))
    count = len(owners)
    return Recorded(np.concatenate(costs), np.concatenate(labels), np.array(owners), np.arange(count), names, 0, 0)


def together(one: Recorded, other: Recorded) -> Recorded:
    """Both crowds; the other's accounts get an x before their names."""
    owners = np.concatenate([one.owners, other.owners + len(one.accounts)])
    return replace(
        one,
        costs=np.concatenate([one.costs, other.costs]),
        labels=np.concatenate([one.labels, other.labels]),
        owners=owners,
        queries=np.arange(len(owners)),
        accounts=(*one.accounts, *(f"x{name}" for name in other.accounts)),
    )


def vet(recorded: Recorded) -> Vetted:
    return vet_records(recorded, CLASSES, CEILINGS, np.random.default_rng(0))


def dropped(found: Vetted, letter: str) -> int:
    return sum(name.startswith(letter) for name, _ in found.dropped)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.05, 0.2, 0.4]), odd=st.sampled_from([1.0, 0.5, 0.3]))
def test_thieves_are_found_up_to_two_in_five_accounts(seed: int, share: float, odd: float) -> None:
    thieves = round(60 * share)
    found = vet(crowd(np.random.default_rng(seed), 60 - thieves, thieves, odd))
    assert dropped(found, "t") == thieves
    assert dropped(found, "u") <= 2


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_where_nobody_steals_hardly_anybody_is_dropped(seed: int) -> None:
    assert len(vet(crowd(np.random.default_rng(seed), 60, 0)).dropped) <= 2


def test_what_is_learnt_is_what_there_is_without_the_thieves() -> None:
    clean = crowd(np.random.default_rng(1), 60, 0)
    found = vet(crowd(np.random.default_rng(1), 60, 30)).samples
    for index in range(len(CLASSES)):
        mine, theirs = found.costs[found.labels == index], clean.costs[clean.labels == index]
        assert mine.mean(axis=0) == pytest.approx(theirs.mean(axis=0), rel=0.15)


def test_thieves_who_spread_over_many_short_accounts_teach_nothing() -> None:
    users = crowd(np.random.default_rng(1), 60, 0)
    thieves = crowd(np.random.default_rng(2), 0, 200, length=14)
    found, alone = vet(together(users, thieves)), vet(users)
    assert found.short == 200
    assert len(found.samples.costs) == len(alone.samples.costs)


def test_no_account_counts_for_more_than_its_share() -> None:
    made = crowd(np.random.default_rng(2), 40, 0, length=130)
    heavy = np.repeat(np.flatnonzero(made.owners == 0), 100)
    both = made.take(np.concatenate([heavy, np.flatnonzero(made.owners != 0)]))
    both = replace(both, queries=np.arange(len(both.owners)))
    samples = vet(both).samples
    assert np.bincount(samples.groups).max() == LEAST_CAP


def test_queries_without_an_account_are_left_out_where_there_are_accounts() -> None:
    made = crowd(np.random.default_rng(3), 40, 0)
    nobody = replace(made, accounts=("", *made.accounts[1:]))
    found = vet(nobody)
    assert found.accounts == 39
    assert found.unnamed == (made.owners == 0).sum()
    assert 0 not in found.samples.groups


def test_where_nobody_has_an_account_each_query_stands_for_itself() -> None:
    made = crowd(np.random.default_rng(3), 40, 0)
    found = vet(replace(made, owners=np.zeros_like(made.owners), accounts=("",)))
    assert not found.samples.by_account
    assert len(np.unique(found.samples.groups)) == len(made.owners)


@pytest.mark.parametrize(
    ("users", "said"),
    [(0, "there are 0 accounts"), (9, "there are 9 accounts of 30 samples or more"), (10, "answered with class")],
)
def test_too_few_accounts_are_refused_with_the_number_needed(users: int, said: str) -> None:
    few = crowd(np.random.default_rng(5), 3, 0, length=8)
    made = together(crowd(np.random.default_rng(4), users, 0, length=130), few) if users else few
    with pytest.raises(RecordsError, match=said) as caught:
        vet(made)
    assert "\n" not in str(caught.value)


def test_accounts_true_spread_is_told_from_chance() -> None:
    rng = np.random.default_rng(5)
    true = rng.normal(0, 0.3, 400)
    owners = np.repeat(np.arange(400), rng.integers(5, 100, 400))
    values = true[owners] + rng.normal(0, 1, len(owners))
    _, means, errors = account_means(values, owners)
    assert between_spread(means, errors) == pytest.approx(0.3, rel=0.15)
    _, means, errors = account_means(rng.normal(0, 1, len(owners)), owners)
    assert between_spread(means, errors) < 0.06


def test_users_as_recorded_scatter_as_accounts_do_and_not_as_short_ones_seem_to() -> None:
    rng = np.random.default_rng(6)
    made = vet(crowd(rng, 80, 0, length=130)).samples
    values = rng.normal(0, 1, len(made.labels)) + 0.2 * rng.normal(0, 1, 200)[made.groups]
    course = Course(10_000)
    rows = [simulate_accounts(values, made, course, rng)[RECORDED][:, -1] / 10_000 for _ in range(300)]
    assert np.concatenate(rows).std() == pytest.approx(0.2, rel=0.5)
    assert simulate_accounts(values, replace(made, by_account=False), course, rng) == {}


def record(account: str = "ada", meter: str = METER, classes: Sequence[int] = (3,)) -> Record:
    return Record(1764000000.123, meter, account, tuple(classes), tuple((0.31, 0.02) for _ in classes))


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "records.jsonl"
    append(path, [record(), record("bob", classes=(1, 4))])
    append(path, [record("", meter="00000000"), record("ada")])
    found = read_records(path, METER, 5, 2)
    assert found.labels.tolist() == [3, 1, 4, 3]
    assert [found.accounts[owner] for owner in found.owners] == ["ada", "bob", "bob", "ada"]
    assert found.queries.tolist() == [1, 2, 2, 4]
    assert (found.foreign, found.torn) == (1, 0)
    assert path.stat().st_mode & 0o077 == 0


@given(at=st.integers(1, 60))
@settings(deadline=None)
def test_a_line_that_was_cut_off_spoils_no_other(tmp_path_factory: pytest.TempPathFactory, at: int) -> None:
    path = tmp_path_factory.mktemp("torn") / "r.jsonl"
    append(path, [record()])
    with path.open("a") as file:
        file.write(record("eve").line()[:at])
    append(path, [record("bob")])
    found = read_records(path, METER, 5, 2)
    assert found.accounts == ("ada", "bob")
    assert found.torn == 1


def test_many_processes_that_append_do_not_come_between_each_other(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    program = (
        "import sys; from pathlib import Path; from calpow.handler.observe.records import Record, append\n"
        "made = [Record(1.0, sys.argv[2], sys.argv[3], (3,) * n, ((0.25, 0.5),) * n) for n in (1, 300, 2)]\n"
        "for _ in range(100): append(Path(sys.argv[1]), made)"
    )
    commands = [[sys.executable, "-c", program, str(path), METER, f"worker{number}"] for number in range(4)]
    workers = [subprocess.Popen(command) for command in commands]
    assert [worker.wait() for worker in workers] == [0] * 4
    found = read_records(path, METER, 5, 2)
    assert np.bincount(found.owners).tolist() == [100 * 303] * 4
    assert found.torn == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", "line 2: no record"),
        ('{"at": 1}', "line 2: .* is missing"),
        (record().line().replace("3]", '"3"]'), r"line 2: classes\[0\] must be of type int"),
        (record().line().replace("[3]", "[3, 1]"), "line 2: 2 classes and 1 costs"),
        (record().line().replace("0.31", "NaN"), "line 2: .* finite"),
        (record().line().replace("0.31", "-0.31"), "line 2: a class or a cost is below 0"),
        (record(classes=(5,)).line(), "line 2: class 5 .* do not fit 5 classes"),
        (record().line().replace(", 0.02", ""), "line 2: .* 1 costs a sample do not fit"),
        ("[" * 100_000, "line 2: no record"),
    ],
)
def test_what_is_no_record_is_refused_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(f"{record().line()}\n{line}\n")
    with pytest.raises(RecordsError, match=said) as caught:
        read_records(path, METER, 5, 2)
    assert "\n" not in str(caught.value)


def test_records_of_another_meter_and_no_records_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with pytest.raises(RecordsError, match="cannot be read"):
        read_records(path, METER, 5, 2)
    path.write_text("\n")
    with pytest.raises(RecordsError, match="holds no records"):
        read_records(path, METER, 5, 2)
    append(path, [record(meter="00000000")])
    with pytest.raises(RecordsError, match=r"measured with 00000000, not with 9f2c41ab"):
        read_records(path, METER, 5, 2)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(RecordsError, match="no file of records"):
        read_records(path, METER, 5, 2)
