"""Records: read as they were written, and vetted, so that a calibration learns what it would without thieves."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calpow.archiver.calibration.records.recorded_samples import (
    LEAST_CAP,
    read_records,
)
from calpow.archiver.errors import RecordsError
from calpow.handler.observe.records import Record, append
from tests.support.crowds import CLASSES, crowd, together, vet

METER = "9f2c41ab"


def test_what_is_learnt_is_what_there_is_without_the_thieves() -> None:
    clean = crowd(np.random.default_rng(1), 60, 0)
    vetted = vet(crowd(np.random.default_rng(1), 60, 30)).samples
    for index in range(len(CLASSES)):
        learnt, expected = vetted.costs[vetted.labels == index].numpy(), clean.costs[clean.labels == index]
        assert learnt.mean(axis=0) == pytest.approx(expected.mean(axis=0), rel=0.15)


def test_thieves_who_spread_over_many_short_accounts_teach_nothing() -> None:
    users = crowd(np.random.default_rng(1), 60, 0)
    thieves = crowd(np.random.default_rng(2), 0, 200, length=14)
    vetted, alone = vet(together(users, thieves)), vet(users)
    assert vetted.short == 200
    assert len(vetted.samples.costs) == len(alone.samples.costs)


def test_no_account_counts_for_more_than_its_share() -> None:
    recorded = crowd(np.random.default_rng(2), 40, 0, length=130)
    heavy = np.repeat(np.flatnonzero(recorded.owners == 0), 100)
    both = recorded.take(np.concatenate([heavy, np.flatnonzero(recorded.owners != 0)]))
    both = replace(both, queries=np.arange(len(both.owners)))
    samples = vet(both).samples
    assert samples.groups.bincount().max() == LEAST_CAP


def test_queries_without_an_account_are_left_out_where_there_are_accounts() -> None:
    recorded = crowd(np.random.default_rng(3), 40, 0)
    nobody = replace(recorded, accounts=("", *recorded.accounts[1:]))
    vetted = vet(nobody)
    assert vetted.accounts == 39
    assert vetted.unnamed == (recorded.owners == 0).sum()
    assert 0 not in vetted.samples.groups.tolist()


def test_where_nobody_has_an_account_each_query_stands_for_itself() -> None:
    recorded = crowd(np.random.default_rng(3), 40, 0)
    vetted = vet(replace(recorded, owners=np.zeros_like(recorded.owners), accounts=("",)))
    assert not vetted.samples.by_account
    assert len(np.unique(vetted.samples.groups.numpy())) == len(recorded.owners)


@pytest.mark.parametrize(
    ("users", "message"),
    [(0, "there are 0 accounts"), (9, "there are 9 accounts of 30 samples or more"), (10, "answered with class")],
)
def test_too_few_accounts_are_refused_with_the_number_needed(users: int, message: str) -> None:
    few = crowd(np.random.default_rng(5), 3, 0, length=8)
    recorded = together(crowd(np.random.default_rng(4), users, 0, length=130), few) if users else few
    with pytest.raises(RecordsError, match=message) as caught:
        vet(recorded)
    assert "\n" not in str(caught.value)


def record(account: str = "ada", meter: str = METER, classes: Sequence[int] = (3,)) -> Record:
    costs = tuple((0.31, 0.02) for _ in classes)
    return Record(1764000000.123, meter, ("pate", "norm"), account, tuple(classes), costs)


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "records.jsonl"
    append(path, [record(), record("bob", classes=(1, 4))])
    append(path, [record("", meter="00000000"), record("ada")])
    read = read_records(path, METER, 5, 2)
    assert read.labels.tolist() == [3, 1, 4, 3]
    assert [read.accounts[owner] for owner in read.owners] == ["ada", "bob", "bob", "ada"]
    assert read.queries.tolist() == [1, 2, 2, 4]
    assert (read.foreign, read.torn) == (1, 0)
    assert path.stat().st_mode & 0o077 == 0


@given(at=st.integers(1, 60))
@settings(deadline=None)
def test_a_line_that_was_cut_off_spoils_no_other(tmp_path_factory: pytest.TempPathFactory, at: int) -> None:
    path = tmp_path_factory.mktemp("torn") / "r.jsonl"
    append(path, [record()])
    with path.open("a") as file:
        file.write(record("eve").line()[:at])
    append(path, [record("bob")])
    read = read_records(path, METER, 5, 2)
    assert read.accounts == ("ada", "bob")
    assert read.torn == 1


@pytest.mark.slow
def test_many_processes_that_append_do_not_come_between_each_other(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    program = """
import os, sys
from pathlib import Path
from calpow.handler.observe.records import Record, append

workers = []
for number in range(4):
    worker = os.fork()
    if worker == 0:
        sizes, account = (1, 300, 2), f"worker{number}"
        records = [Record(1.0, sys.argv[2], ("pate", "norm"), account, (3,) * n, ((0.25, 0.5),) * n) for n in sizes]
        for _ in range(100):
            append(Path(sys.argv[1]), records)
        os._exit(0)
    workers.append(worker)
assert [os.waitpid(worker, 0)[1] for worker in workers] == [0] * 4
"""
    subprocess.run([sys.executable, "-c", program, str(path), METER], check=True)
    read = read_records(path, METER, 5, 2)
    assert np.bincount(read.owners).tolist() == [100 * 303] * 4
    assert read.torn == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", "line 2: no record"),
        ('{"at": 1}', "line 2: .* is missing"),
        (record().line().replace("3]", '"3"]'), r"line 2: classes\[0\] must be of type int"),
        (record().line().replace("[3]", "[3, 1]"), "line 2: 2 classes and 1 costs"),
        (record().line().replace("0.31", "NaN"), "line 2: .* finite"),
        (record(classes=(5,)).line(), "line 2: class 5 .* do not fit 5 classes"),
        (record().line().replace(", 0.02", ""), "line 2: 2 scores have 1 costs a sample"),
        ("[" * 100_000, "line 2: no record"),
    ],
)
def test_what_is_no_record_is_refused_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(f"{record().line()}\n{line}\n")
    with pytest.raises(RecordsError, match=message) as caught:
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
    with pytest.raises(RecordsError, match="not a file of records"):
        read_records(path, METER, 5, 2)
