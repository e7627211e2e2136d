"""What every metric makes of every set of queries, priced as a worker prices them, once for each seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.fashion.data import CLASS_FOLDERS, CLASSES, Grey, Images, Labels, split, tensor
from benchmarks.fashion.shifts import SHIFTS, shifted
from benchmarks.fashion.strangers import Stock, make_all
from benchmarks.fashion.victim import TEACHERS, Home
from calpow.archiver.calibration.calibrator import REFERENCE_INPUTS
from calpow.archiver.calibration.instrument import Instrument, make_instrument, vote_settings
from calpow.archiver.calibration.samples import price_inputs
from calpow.archiver.calibration.simulated_users import Floats, Ints, Samples
from calpow.archiver.cli.calibrate import METRICS as CALIBRATE_METRICS
from calpow.archiver.cli.calibrate import Order
from calpow.archiver.payloads import Folder
from calpow.archiver.victim_archive import OpenVictim, open_victim
from calpow.handler.leakage.meter import Meter, make_meter
from calpow.handler.leakage.registry import MetricName
from calpow.handler.policy.calibration_file import Chosen

RDP_ORDER = 8.0
PATE, RDP, ENTROPY, GAP, PKNN, ODIN, MOVED = "PATE", "PATE (RDP 8)", "entropy", "gap", "pknn", "ODIN", "ODIN, moved"
METRICS = (PATE, RDP, ENTROPY, GAP, PKNN, ODIN, MOVED)
# Queries between two steps of a progress bar.
PART = 512


@dataclass(frozen=True)
class Set:
    """Priced queries: costs `[n, len(METRICS)]` and the victim's answers int64 `[n]`."""

    costs: Floats
    labels: Ints


@dataclass(frozen=True)
class Priced:
    """One seed's queries, priced: honest ones to calibrate with and fresh ones, the fresh ones shifted, strangers'.

    highest: the most that a query can cost by each metric.
    """

    calibration: Samples
    fresh: Samples
    shifted: Mapping[str, Samples]
    strangers: Mapping[str, Set]
    highest: Floats


@dataclass(frozen=True)
class Sizes:
    """How many queries are priced: of each half of the test images, of each kind of stranger, and under each shift."""

    half: int
    strangers: int
    shifted: int


def price(home: Home, sizes: Sizes) -> Priced:
    """Price everything of one seed. Raises DataMissing."""
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
        highest=np.array([metric.highest for metric in meter.metrics]),
    )


def all_metrics(opened: OpenVictim, home: Home, calibration: Images) -> Meter:
    """A meter with a column for each of METRICS, with the settings that calibration gives them."""
    instrument = calibrated(opened, home, calibration)
    pate, entropy, gap, pknn, odin, moved = instrument.chosen
    rdp = Chosen(MetricName.pate, vote_settings(TEACHERS, RDP_ORDER))
    chosen = (pate, rdp, entropy, gap, pknn, odin, moved)
    return remade(opened, instrument, chosen)


def remade(opened: OpenVictim, instrument: Instrument, chosen: Sequence[Chosen]) -> Meter:
    """The instrument's meter with other metrics."""
    return make_meter(
        opened.victim.recorder,
        opened.device,
        instrument.shape,
        instrument.output,
        chosen,
        instrument.limits,
        instrument.artefacts,
    )


def calibrated(opened: OpenVictim, home: Home, calibration: Images) -> Instrument:
    """The instrument that `calpow calibrate` would measure with, of all its metrics."""
    order = Order(
        victim=home.victim,
        data=home.train,
        output=home.folder / "calibration.json",
        ensemble=home.ensemble,
        neighbours=home.neighbours,
        metrics=CALIBRATE_METRICS,
    )
    inputs = tensor(calibration.images[:REFERENCE_INPUTS])
    return make_instrument(order, opened, Folder(CLASS_FOLDERS, ()), inputs)


def _price(images: Grey, meter: Meter, name: str) -> Set:
    batches = torch.split(tensor(images), PART)
    parts = [price_inputs(batch, meter.price) for batch in tqdm(batches, name, unit="batch", disable=None)]
    costs, labels = (torch.cat(each).numpy() for each in zip(*((p.costs, p.labels) for p in parts), strict=True))
    return Set(costs, labels)


def _samples(found: Set, classes: Labels) -> Samples:
    return Samples(found.costs, found.labels, classes, np.arange(len(classes)), CLASSES)
