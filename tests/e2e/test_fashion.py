"""The benchmark on Fashion-MNIST: data as they are, strangers that repeat themselves, verdicts that can fail."""

import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.fashion import data, policies, requirements, strangers, timing
from benchmarks.fashion.costs import METRICS, Priced, PricedSet
from benchmarks.fashion.data import CLASSES, DataMissing, Images, grey, read_idx, split, tensor
from benchmarks.fashion.shifts import SHIFTS, shifted
from benchmarks.fashion.strangers import CHOSEN_ON, REPORTED_ON, Stock
from calpow.archiver.calibration.samples import Samples

needs_data = pytest.mark.skipif(not data.DEBIAN.is_dir(), reason="needs Debian's dataset-fashion-mnist")
PER_CLASS = 40


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with timing.one_thread():
        yield


def garments() -> Images:
    rng = np.random.default_rng(0)
    return Images(rng.integers(0, 256, (200, 28, 28), dtype=np.uint8), np.arange(200) % 10)


def test_idx_files_are_read_as_their_format_says() -> None:
    content = bytes((0, 0, 8, 2)) + struct.pack(">II", 2, 3) + bytes(range(6))
    assert read_idx(content).tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(DataMissing, match="no IDX file of bytes"):
        read_idx(b"<html>")


def test_missing_data_are_one_line_that_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "DEBIAN", tmp_path)
    with pytest.raises(DataMissing, match=r"does not exist: apt install dataset-fashion-mnist$"):
        data.load("train")


@needs_data
def test_seeds_divide_the_test_images_otherwise_and_completely() -> None:
    whole, halves, others = data.load("t10k"), split(0), split(1)
    assert [len(halves.calibration.labels), len(halves.fresh.labels)] == [5_000, 5_000]
    both = np.concatenate([halves.calibration.images, halves.fresh.images])
    assert sorted(image.tobytes() for image in both) == sorted(image.tobytes() for image in whole.images)
    assert not np.array_equal(halves.fresh.labels, others.fresh.labels)


def test_an_image_survives_the_way_to_the_victim_and_back() -> None:
    images = garments().images
    assert tensor(images).shape == (200, 1, 28, 28)
    assert np.array_equal(grey(tensor(images)), images)


@pytest.mark.parametrize("kind", [*CHOSEN_ON, *(kind for kind in REPORTED_ON if kind not in ("digits", "jacobian"))])
def test_strangers_are_grey_images_the_same_for_the_same_seed(kind: str, tmp_path: Path) -> None:
    makers = {**CHOSEN_ON, **REPORTED_ON}
    first, again, other = (
        makers[kind](Stock(garments(), tmp_path, np.random.default_rng(seed)), 8) for seed in (0, 0, 1)
    )
    assert first.shape == (8, 28, 28)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_jacobian_queries_stay_within_three_steps_of_what_they_were_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strangers, "SUBSTITUTE_STEPS", 3)
    owned = garments()
    queries = strangers.jacobian(Stock(owned, tmp_path, np.random.default_rng(0)), 20).astype(int)
    distances = np.abs(queries[:, None] - owned.images[None].astype(int)).max(axis=(2, 3)).min(axis=1)
    assert distances.min() >= 25
    assert distances.max() <= 77


def test_shifted_images_keep_their_order() -> None:
    ramp = np.repeat(np.arange(10, 210, 40, dtype=np.uint8), 28 * 28).reshape(5, 28, 28)
    for images in shifted(ramp, np.random.default_rng(0)).values():
        assert np.argsort(images[:, 14, 14]).tolist() == [0, 1, 2, 3, 4]


def invented_costs() -> Priced:
    """Honest queries that cost about a half by every metric, strangers that cost one."""
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(10), PER_CLASS)

    def honest() -> Samples:
        costs = rng.normal(0.5, 0.1, (len(classes), 1)).clip(0, 1).repeat(len(METRICS), axis=1)
        return Samples.of_arrays(costs, classes, classes, np.arange(len(classes)), CLASSES)

    wild = PricedSet(torch.ones(PER_CLASS, len(METRICS)).double(), torch.from_numpy(rng.integers(10, size=PER_CLASS)))
    return Priced(honest(), honest(), dict.fromkeys(SHIFTS, honest()), {"noise": wild}, np.ones(len(METRICS)))


@pytest.mark.slow
def test_strangers_pay_and_honest_users_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calpow.archiver.calibration.simulated_users.RESAMPLES", 60)
    figures = policies.measure(policies.DEFAULT, invented_costs(), seed=0)
    verdicts = {
        requirement.what: requirement.holds
        for requirement in requirements.of_policy([{policies.DEFAULT.name: figures}])
    }
    assert verdicts["noise"]
    assert all(holds for what, holds in verdicts.items() if what.startswith("honest"))
    dear = replace(figures, honest=dict.fromkeys(figures.honest, (2.5, 2.5)))
    assert not any(
        requirement.holds
        for requirement in requirements.of_policy([{policies.DEFAULT.name: dear}])
        if requirement.what.startswith("honest")
    )


def test_a_must_is_judged_by_the_median_seed_and_shows_the_worst() -> None:
    requirement = requirements.Requirement("noise", 1_000.0, at_most=False, values=(900.0, 1_500.0, 2_000.0))
    assert requirement.holds
    assert "| 1,500x | 900x | pass, but for 1 of 3 seeds |" in "\n".join(requirements.requirement_table([requirement]))
    assert "**FAIL**" in "\n".join(
        requirements.requirement_table([replace(requirement, values=(900.0, 950.0, 2_000.0))])
    )
