"""How long pricing takes beside the victim's own forward pass, all of it in turns in one run."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.fashion.costs import calibrated, remade
from benchmarks.fashion.data import CLASSES, Images, split, tensor
from benchmarks.fashion.policies import DEFAULT
from benchmarks.fashion.strangers import Stock, make_all
from benchmarks.fashion.victim import TEACHERS, Home
from calpow.archiver.calibration.instrument import Instrument, vote_settings
from calpow.archiver.calibration.samples import price_inputs
from calpow.archiver.teachers.independent import IndependentTeachers
from calpow.archiver.teachers.networks import MNISTNET_SHAPE, mnistnet
from calpow.archiver.victim_archive import open_victim
from calpow.handler.leakage.ensemble import Ensemble, EnsembleCard
from calpow.handler.leakage.registry import MetricName, Sources, make_metric
from calpow.handler.leakage.score import Seen
from calpow.handler.policy.calibration_file import Chosen

BATCHES = (1, 16, 64)
ROUNDS = 200
# For the paper's teachers, of whom one round takes seconds.
FEW_ROUNDS = 5
# Queries of each kind on which ensembles are compared.
COMPARED = 400
VICTIM = "the victim's forward pass"
VOTES = "default teachers: votes and accounting"
INDEPENDENT = "the paper's 250 networks: votes and accounting"
UNTRAINED = f"{INDEPENDENT}, of random weights"

# They go through so much memory that whatever comes after finds the caches cold: in rounds of their own.
HEAVY = frozenset({"pknn", "odin-moved"})

Run = Callable[[Tensor], object]
# By name, seconds of each round.
Rounds = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Took:
    """Median seconds, and the median of the ratios to the victim's forward pass of the same round; by batch size."""

    seconds: Mapping[int, float]
    times_victim: Mapping[int, float]


@dataclass(frozen=True)
class Compared:
    """How good an ensemble is: its card, and by kind of stranger the AUROC of its costs against honest queries'."""

    card: EnsembleCard
    auroc: Mapping[str, float]


@dataclass(frozen=True)
class Timings:
    """victim: its forward pass alone. votes: teachers alone. whole: the victim's pass, followed and priced. added: what
    that takes more than the pass alone, which is what pricing adds to a protected answer."""

    victim: Took
    votes: Mapping[str, Took]
    added: Mapping[str, Took]
    whole: Mapping[str, Took]
    ensembles: Mapping[str, Compared]


def measure(home: Home, *, quick: bool) -> Timings:
    """Time everything on one seed's victim, with one thread. Raises the CalpowError of a part that does not load."""
    halves = split(home.seed)
    inputs = tensor(halves.fresh.images)
    rounds = ROUNDS // 10 if quick else ROUNDS
    with one_thread(), open_victim(home.victim) as opened:
        instrument = calibrated(opened, home, halves.calibration)
        pate = _pate(_teachers(instrument))
        selections = _selections(instrument)
        meters: dict[str, Run] = {name: remade(opened, instrument, each).price for name, each in selections.items()}
        victim = _forward(opened.victim.recorder.model)
        light = {VICTIM: victim, VOTES: pate} | {n: run for n, run in meters.items() if n not in HEAVY}
        heavy = {VICTIM: victim} | {n: run for n, run in meters.items() if n in HEAVY}
        times = {size: _interleaved(light, inputs, size, rounds) for size in BATCHES}
        heavy_times = {size: _interleaved(heavy, inputs, size, rounds) for size in BATCHES}
        if home.independent.is_file():
            paper = Ensemble.load(home.independent)
            slow_name, slow = INDEPENDENT, _pate(paper.votes)
        else:
            paper, slow_name, slow = None, UNTRAINED, _pate(_untrained())
        few = {VICTIM: victim, slow_name: slow}
        slow_times = {size: _interleaved(few, inputs, size, 1 if quick else FEW_ROUNDS) for size in BATCHES}
    ensembles = {"default": instrument.artefacts.ensemble, "the paper's": paper}
    count = COMPARED // 10 if quick else COMPARED
    return Timings(
        victim=_took(times, VICTIM),
        votes={VOTES: _took(times, VOTES), slow_name: _took(slow_times, slow_name)},
        added={name: _took(heavy_times if name in HEAVY else times, name, less=VICTIM) for name in meters},
        whole={name: _took(heavy_times if name in HEAVY else times, name) for name in meters},
        ensembles={name: _compare(each, home, halves.fresh, count) for name, each in ensembles.items() if each},
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch computes with one thread meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _forward(model: nn.Module) -> Run:
    """The model as its handler calls it."""

    def run(inputs: Tensor) -> object:
        with torch.inference_mode():
            return model(inputs)

    return run


def _interleaved(runs: Mapping[str, Run], inputs: Tensor, size: int, rounds: int) -> Rounds:
    """Seconds of each run in each round, all in turns, every round with other inputs; one more to warm up."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in tqdm(range(rounds + 1), f"batches of {size}", unit="round", disable=None):
        batch = inputs[torch.arange(number * size, (number + 1) * size) % len(inputs)]
        for name, run in runs.items():
            begun = time.perf_counter()
            run(batch)
            found[name].append(time.perf_counter() - begun)
    return {name: seconds[1:] for name, seconds in found.items()}


def _took(times: Mapping[int, Rounds], name: str, less: str | None = None) -> Took:
    seconds, ratios = {}, {}
    for size, found in times.items():
        mine = np.array(found[name])
        if less:
            mine = mine - np.array(found[less])
        seconds[size] = median(mine.tolist())
        ratios[size] = median((mine / np.array(found[VICTIM])).tolist())
    return Took(seconds, ratios)


def _selections(instrument: Instrument) -> dict[str, tuple[Chosen, ...]]:
    by_name = {each.name: each for each in instrument.chosen}
    pate = by_name[MetricName.pate]
    alone = {each.name.value: (each,) for each in instrument.chosen if each is not pate}
    return {
        DEFAULT.name: (pate,),
        "PATE + ODIN": (pate, by_name[MetricName.odin]),
        "PATE + entropy": (pate, by_name[MetricName.entropy]),
        **alone,
    }


def _pate(votes: Callable[[Tensor], Tensor]) -> Run:
    metric = make_metric(MetricName.pate, vote_settings(TEACHERS, None), Sources(len(CLASSES), teachers=votes))
    return lambda inputs: metric.price(Seen(inputs))


def _teachers(instrument: Instrument) -> Callable[[Tensor], Tensor]:
    assert instrument.artefacts.ensemble is not None
    return instrument.artefacts.ensemble.votes


def _untrained() -> Callable[[Tensor], Tensor]:
    teachers = IndependentTeachers([mnistnet(len(CLASSES), MNISTNET_SHAPE) for _ in range(TEACHERS)], len(CLASSES))

    def votes(inputs: Tensor) -> Tensor:
        with torch.inference_mode():
            return teachers.forward(inputs)

    return votes


def _compare(ensemble: Ensemble, home: Home, fresh: Images, count: int) -> Compared:
    strangers = make_all(Stock(fresh, home.folder, np.random.default_rng((home.seed, 3))), count)
    metric = make_metric(MetricName.pate, vote_settings(TEACHERS, None), Sources(len(CLASSES), teachers=ensemble.votes))

    def costs(inputs: Tensor) -> list[float]:
        found: list[float] = price_inputs(inputs, lambda batch: metric.price(Seen(batch))).costs.tolist()
        return found

    honest = costs(tensor(fresh.images[:count]))
    truth = [0] * count + [1] * count
    named = tqdm(strangers.items(), "comparing", unit="set", disable=None)
    return Compared(
        ensemble.card, {name: float(roc_auc_score(truth, honest + costs(tensor(made)))) for name, made in named}
    )
