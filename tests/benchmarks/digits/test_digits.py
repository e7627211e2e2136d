"""The demo's digits: honest splits, a handler that reads PNG files, attackers that repeat themselves under a seed."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.digits import attacks, victim
from benchmarks.digits.data import FILES_PER_IMAGE, SIZES, Digits, disturb, load_splits, write_splits
from benchmarks.digits.handler import read_digit
from benchmarks.digits.pricing import calls_on, inputs_of
from calpow.archiver.victim.victim_archive import open_victim


def test_every_image_is_in_one_split() -> None:
    splits = load_splits()
    assert {name: len(split.labels) for name, split in splits.items()} == SIZES
    numbers = np.concatenate([split.numbers for split in splits.values()])
    assert sorted(numbers) == list(range(1797))


def test_no_two_splits_share_an_image() -> None:
    seen = [{image.tobytes() for image in split.images} for split in load_splits().values()]
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]


def test_splits_have_the_classes_in_equal_shares() -> None:
    for split in load_splits().values():
        shares = np.bincount(split.labels) / len(split.labels)
        assert shares.min() > 0.09
        assert shares.max() < 0.11


def test_files_are_written_by_class_and_image_the_same_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {
        name: Digits(digits.images[:5], digits.labels[:5], digits.numbers[:5]) for name, digits in load_splits().items()
    }
    monkeypatch.setattr("benchmarks.digits.data.load_splits", lambda: few)
    folders, again = write_splits(tmp_path / "one"), write_splits(tmp_path / "two")
    for name, folder in folders.items():
        files = sorted(file.relative_to(folder) for file in folder.rglob("*.png"))
        assert Counter(file.parts[1] for file in files) == dict.fromkeys(
            (f"{number:04d}" for number in few[name].numbers), FILES_PER_IMAGE[name]
        )
        for file in files:
            assert (folder / file).read_bytes() == (again[name] / file).read_bytes()


def test_an_original_arrives_at_the_network_as_it_is() -> None:
    image = load_splits()["users"].images[0]
    expected = torch.from_numpy(image.astype(np.float32))[None] / 255
    assert torch.equal(read_digit(attacks.png(image)), expected)


def test_copies_differ_from_their_original_but_not_much() -> None:
    rng = np.random.default_rng(0)
    for image in load_splits()["users"].images[:100]:
        copy = disturb(image, rng)
        assert (copy != image).any()
        assert np.corrcoef(copy.ravel(), image.ravel())[0, 1] > 0.5
        assert 0.8 < copy.sum() / image.sum() < 1.2


def test_the_handler_shrinks_images_of_other_sizes_and_modes() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (31, 17), (255, 255, 255)).save(buffer, format="JPEG")
    assert torch.equal(read_digit(buffer.getvalue()), torch.ones(1, 8, 8))


@pytest.mark.training
def test_the_victim_reads_digits_it_has_not_seen_also_from_its_archive(tmp_path: Path) -> None:
    splits = load_splits()
    images = {name: torch.from_numpy(digits.images).float()[:, None] / 255 for name, digits in splits.items()}
    labels = {name: torch.from_numpy(digits.labels) for name, digits in splits.items()}
    network = victim.train(images["victim-train"], labels["victim-train"])
    assert victim.accuracy(network, images["users"], labels["users"]) > 0.95
    bodies = [attacks.png(image) for image in splits["users"].images[:20]]
    with open_victim(victim.archive(network, tmp_path)) as opened:
        (answers,) = [call.output for call in calls_on(opened, inputs_of(opened, bodies))]
    assert answers is not None
    with torch.inference_mode():
        expected = network(images["users"][:20])
    assert torch.allclose(answers, expected, atol=1e-6)


@pytest.mark.training
@pytest.mark.parametrize("kind", attacks.ATTACKS)
def test_attackers_send_different_images_and_the_same_ones_under_a_seed(kind: str) -> None:
    bodies = attacks.payloads(kind, 40, seed=1)
    assert bodies == attacks.payloads(kind, 40, seed=1)
    assert bodies != attacks.payloads(kind, 40, seed=2)
    assert len(set(bodies)) > 30
    with Image.open(io.BytesIO(bodies[0])) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (8, 8))
