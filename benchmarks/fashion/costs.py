"""Costs of all sets of queries by all metrics, priced as a worker prices them, once for each seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.fashion.data import CLASS_FOLDERS, CLASSES, Grey, Images, Labels, split, tensor
from benchmarks.fashion.shifts import SHIFTS, shifted
from benchmarks.fashion.strangers import Stock, make_all
from benchmarks.fashion.victim import TEACHERS, Home
from benchmarks.pricing import calls_on, price_inputs
from calpow.archiver.calibration.order import METRICS as CALIBRATE_METRICS
from calpow.archiver.calibration.order import CalibrationOrder
from calpow.archiver.calibration.samples import Floats, Samples
from calpow.archiver.calibration.score_setup import ScoreSetup, set_up_scores, vote_settings
from calpow.archiver.calibration.victim_scores import REFERENCE_INPUTS
from calpow.archiver.data.payloads import PayloadFolder
from calpow.archiver.victim.victim_archive import OpenVictim, open_victim
from calpow.handler.leakage.meter import Meter, make_meter
from calpow.handler.leakage.specs import ScoreName, ScoreSpec

RDP_ORDER = 8.0
PATE, RDP, ENTROPY, GAP, PKNN, ODIN, MOVED = "PATE", "PATE (RDP 8)", "entropy", "gap", "pknn", "ODIN", "ODIN, moved"
METRICS = (PATE, RDP, ENTROPY, GAP, PKNN, ODIN, MOVED)
# Queries between two steps of a progress bar.
PART = 512


@dataclass(frozen=True)
class PricedSet:
    """Priced queries: costs `[n, len(METRICS)]` and the victim's answers int64 `[n]`."""

    costs: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Priced:
    """Priced queries of one seed: honest ones for the calibration, fresh honest ones, shifted ones, and strangers'.

    highest: the highest possible cost by each metric.
    """

    calibration: Samples
    fresh: Samples
    shifted: Mapping[str, Samples]
    strangers: Mapping[str, PricedSet]
    highest: Floats


@dataclass(frozen=True)
class Sizes:
    """Numbers of queries to price: of either half of the test images, of a kind of stranger, and under a shift."""

    half: int
    strangers: int
    shifted: int


def price(home: Home, sizes: Sizes) -> Priced:
    """Price all queries of one seed. Raises DataMissing."""
    halves = split(home.seed)
    rng = np.random.default_rng((home.seed, 1))
    calibration, fresh = (half.take(np.arange(sizes.half)) for half in (halves.calibration, halves.fresh))
    strangers = make_all(Stock(halves.fresh, home.folder, rng), sizes.strangers)
    sets = {
        "calibration": calibration.images,
        "fresh": fresh.images,
        **strangers,
        **shifted(fresh.images[: sizes.shifted], rng),
    }
    with open_victim(home.victim) as opened:
        meter = all_metrics(opened, home, calibration)
        found = {name: _price(images, meter, name) for name, images in sets.items()}
    honest = {name: _samples(found[name], fresh.labels[: len(found[name].labels)]) for name in ("fresh", *SHIFTS)}
    return Priced(
        calibration=_samples(found["calibration"], calibration.labels),
        fresh=honest["fresh"],
        shifted={name: honest[name] for name in SHIFTS},
        strangers={name: found[name] for name in strangers},
        highest=np.array([score.highest for score in meter.scores]),
    )


def all_metrics(opened: OpenVictim, home: Home, calibration: Images) -> Meter:
    """Return a meter of METRICS, with the settings that calibration gives them."""
    setup = calibrated(opened, home, calibration)
    pate, entropy, gap, pknn, odin, moved = setup.scores
    rdp = ScoreSpec(ScoreName.pate, vote_settings(TEACHERS, RDP_ORDER))
    chosen = (pate, rdp, entropy, gap, pknn, odin, moved)
    return remade(opened, setup, chosen)


def remade(opened: OpenVictim, setup: ScoreSetup, chosen: Sequence[ScoreSpec]) -> Meter:
    """Return the setup's meter with other metrics."""
    return make_meter(
        opened.recorder,
        setup.shape,
        setup.output,
        chosen,
        setup.input_range,
        setup.artefacts,
    )


def calibrated(opened: OpenVictim, home: Home, calibration: Images) -> ScoreSetup:
    """Return the setup of all metrics that `calpow calibrate` would measure with."""
    order = CalibrationOrder(
        victim=home.victim,
        data=home.train,
        output=home.folder / "calibration.json",
        ensemble=home.ensemble,
        neighbours=home.neighbours,
        metrics=CALIBRATE_METRICS,
    )
    inputs = tensor(calibration.images[:REFERENCE_INPUTS])
    return set_up_scores(order, opened, PayloadFolder(CLASS_FOLDERS, ()), calls_on(opened, inputs))


def _price(images: Grey, meter: Meter, name: str) -> PricedSet:
    batches = torch.split(tensor(images), PART)
    parts = [price_inputs(batch, meter.price) for batch in tqdm(batches, name, unit="batch", disable=None)]
    return PricedSet(torch.cat([part.costs for part in parts]), torch.cat([part.labels for part in parts]))


def _samples(found: PricedSet, classes: Labels) -> Samples:
    return Samples(found.costs, found.labels, torch.from_numpy(classes), torch.arange(len(classes)), CLASSES)
