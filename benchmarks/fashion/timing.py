"""Times of pricing and of the victim's own forward pass, measured in turns in one run."""

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
from benchmarks.pricing import price_inputs
from calpow.archiver.calibration.score_setup import ScoreSetup, vote_settings
from calpow.archiver.teachers.networks import MNISTNET_SHAPE, mnistnet
from calpow.archiver.victim.victim_archive import open_victim
from calpow.handler.leakage.registry import ScoreSources, make_score
from calpow.handler.leakage.score import SampleBatch, Score
from calpow.handler.leakage.specs import ScoreName, ScoreSpec
from calpow.handler.leakage.teachers.ensemble import Ensemble, EnsembleCard
from calpow.handler.leakage.teachers.heads import NetworkEnsemble

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

# They fill the caches, which would slow down the run after them: they have rounds of their own.
HEAVY = frozenset({"pknn", "odin-moved"})

Run = Callable[[Tensor], object]
# By name, seconds of each round.
Rounds = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class PricingTime:
    """Median seconds, and the median of the ratios to the victim's forward pass of the same round; by batch size."""

    seconds: Mapping[int, float]
    times_victim: Mapping[int, float]


@dataclass(frozen=True)
class Compared:
    """Quality of an ensemble: its card, and the AUROC of strangers' costs against honest ones, by kind of stranger."""

    card: EnsembleCard
    auroc: Mapping[str, float]


@dataclass(frozen=True)
class Timings:
    """Times of pricing, by metrics or ensemble.

    victim: the forward pass alone.
    votes: the teachers alone.
    added: the time that pricing adds to the victim's pass.
    whole: the victim's pass, recorded and priced.
    """

    victim: PricingTime
    votes: Mapping[str, PricingTime]
    added: Mapping[str, PricingTime]
    whole: Mapping[str, PricingTime]
    ensembles: Mapping[str, Compared]


def measure(home: Home, *, quick: bool) -> Timings:
    """Time pricing on one seed's victim, with one thread. Raises the CalpowError of a part that does not load."""
    halves = split(home.seed)
    inputs = tensor(halves.fresh.images)
    rounds = ROUNDS // 10 if quick else ROUNDS
    with one_thread(), open_victim(home.victim) as opened:
        setup = calibrated(opened, home, halves.calibration)
        pate = _pate(_teachers(setup))
        selections = _selections(setup)
        meters: dict[str, Run] = {name: remade(opened, setup, scores).price for name, scores in selections.items()}
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
    ensembles = {"default": setup.artefacts.ensemble, "the paper's": paper}
    count = COMPARED // 10 if quick else COMPARED
    return Timings(
        victim=_pricing_time(times, VICTIM),
        votes={VOTES: _pricing_time(times, VOTES), slow_name: _pricing_time(slow_times, slow_name)},
        added={name: _pricing_time(heavy_times if name in HEAVY else times, name, less=VICTIM) for name in meters},
        whole={name: _pricing_time(heavy_times if name in HEAVY else times, name) for name in meters},
        ensembles={name: _compare(each, home, halves.fresh, count) for name, each in ensembles.items() if each},
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Context manager within which torch computes with one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _forward(model: nn.Module) -> Run:
    """Return the model as its handler calls it."""

    def run(inputs: Tensor) -> object:
        with torch.inference_mode():
            return model(inputs)

    return run


def _interleaved(runs: Mapping[str, Run], inputs: Tensor, size: int, rounds: int) -> Rounds:
    """Return the seconds of the runs in each round, in turns and with new inputs, after one round to warm up."""
    durations: dict[str, list[float]] = {name: [] for name in runs}
    for number in tqdm(range(rounds + 1), f"batches of {size}", unit="round", disable=None):
        batch = inputs[torch.arange(number * size, (number + 1) * size) % len(inputs)]
        for name, run in runs.items():
            begun = time.perf_counter()
            run(batch)
            durations[name].append(time.perf_counter() - begun)
    return {name: seconds[1:] for name, seconds in durations.items()}


def _pricing_time(times: Mapping[int, Rounds], name: str, less: str | None = None) -> PricingTime:
    seconds, ratios = {}, {}
    for size, rounds in times.items():
        durations = np.array(rounds[name])
        if less:
            durations = durations - np.array(rounds[less])
        seconds[size] = median(durations.tolist())
        ratios[size] = median((durations / np.array(rounds[VICTIM])).tolist())
    return PricingTime(seconds, ratios)


def _selections(setup: ScoreSetup) -> dict[str, tuple[ScoreSpec, ...]]:
    by_name = {each.name: each for each in setup.scores}
    pate = by_name[ScoreName.pate]
    alone = {each.name.value: (each,) for each in setup.scores if each is not pate}
    return {
        DEFAULT.name: (pate,),
        "PATE + ODIN": (pate, by_name[ScoreName.odin]),
        "PATE + entropy": (pate, by_name[ScoreName.entropy]),
        **alone,
    }


def _pate(votes: Callable[[Tensor], Tensor]) -> Run:
    score = _pate_score(votes)
    return lambda inputs: score.price(SampleBatch(inputs))


def _pate_score(votes: Callable[[Tensor], Tensor]) -> Score:
    spec = ScoreSpec(ScoreName.pate, vote_settings(TEACHERS, None))
    return make_score(spec, ScoreSources(len(CLASSES), teachers=votes))


def _teachers(setup: ScoreSetup) -> Callable[[Tensor], Tensor]:
    assert setup.artefacts.ensemble is not None
    return setup.artefacts.ensemble.votes


def _untrained() -> Callable[[Tensor], Tensor]:
    teachers = NetworkEnsemble([mnistnet(len(CLASSES), MNISTNET_SHAPE) for _ in range(TEACHERS)], len(CLASSES))

    def votes(inputs: Tensor) -> Tensor:
        with torch.inference_mode():
            return teachers.forward(inputs)

    return votes


def _compare(ensemble: Ensemble, home: Home, fresh: Images, count: int) -> Compared:
    strangers = make_all(Stock(fresh, home.folder, np.random.default_rng((home.seed, 3))), count)
    score = _pate_score(ensemble.votes)

    def costs(inputs: Tensor) -> list[float]:
        found: list[float] = price_inputs(inputs, lambda batch: score.price(SampleBatch(batch))).costs.tolist()
        return found

    honest = costs(tensor(fresh.images[:count]))
    truth = [0] * count + [1] * count
    named = tqdm(strangers.items(), "comparing", unit="set", disable=None)
    return Compared(
        ensemble.card, {name: float(roc_auc_score(truth, honest + costs(tensor(made)))) for name, made in named}
    )
