"""The work behind `calpow calibrate`: price held-out payloads, fit the policies, time victim and client."""

import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np
import torch
from torch import Tensor

from calpow.archiver import simulation
from calpow.archiver.calibrate import Order
from calpow.archiver.fitting import CAP, ROOM, FittedConditional, FittedPaper, fit_conditional, fit_paper
from calpow.archiver.payloads import Folder, read_folder
from calpow.archiver.payloads import samples as preprocessed
from calpow.archiver.simulation import Outcome, Samples
from calpow.archiver.timing import Floor, Latency, measure_floor, measure_latency, measure_solver
from calpow.archiver.victims import OpenVictim, open_victim
from calpow.handler.calibration import SCHEMA, Calibration, CalibrationError, PateSettings, PolicyName, Shape
from calpow.handler.config import file_sha256
from calpow.handler.ensemble import Ensemble
from calpow.handler.evidence import Evidence
from calpow.handler.leakage.base import Metric, Seen
from calpow.handler.leakage.pate import Pate
from calpow.handler.leakage.rdp import gnmax_epsilon
from calpow.handler.policies import SolverFit

# The paper's settings (section 4.2): sigma 10 for 250 teachers, 2 for 50; delta 1e-5.
SIGMA_PER_TEACHER = 1 / 25
DELTA = 1e-5
BATCH = 64

Provenance = dict[str, str | int | float]


@dataclass(frozen=True)
class Timing:
    """What this machine takes: `latency` is a payload's, `sample_seconds` one sample's share of it."""

    latency: Latency
    sample_seconds: float
    solver: SolverFit
    floor: Floor


def calibrate(order: Order) -> Calibration:
    """Measure a calibration. Raises the CalpowError of whichever part does not fit or does not work."""
    if not order.output.resolve().parent.is_dir():
        raise CalibrationError(f"{order.output.parent} is not a folder: create it or give another --output")
    victim, artefact = order.victim.resolve(), order.ensemble.resolve()
    folder = read_folder(order.data)
    with open_victim(victim, order.preprocess) as opened:
        ensemble = Ensemble.load(artefact, opened.device)
        _check_fit(ensemble, folder, opened)
        settings = settings_for(ensemble.card.teachers)
        samples = price_folder(opened, folder, Pate(ensemble.votes, settings.sigma, settings.delta))
    highest = highest_cost(settings, ensemble.card.classes)
    conditional = fit_conditional(samples, highest, np.random.default_rng(order.seed))
    paper = fit_paper(samples, highest, np.random.default_rng(order.seed))
    timing = _time(order, folder, len(samples.costs))
    return Calibration(
        schema=SCHEMA,
        shape=Shape(ensemble.card.classes, ensemble.card.input_shape),
        victim_sha256=file_sha256(victim),
        ensemble_sha256=file_sha256(artefact),
        metric=settings,
        policy=PolicyName(order.policy),
        conditional=conditional.policy,
        paper=paper.policy,
        floor_seconds=timing.floor.seconds,
        cap=CAP,
        latency_seconds=timing.sample_seconds,
        solver=timing.solver,
        provenance=_origin(order, samples) | _simulated(conditional, paper) | _timed(timing),
        evidence=Evidence("excess", 0, 2.0, (), (), 0.0, 0.0, ()),
    )


def settings_for(teachers: int) -> PateSettings:
    """The metric's settings for so many teachers, in the paper's proportion."""
    return PateSettings(teachers * SIGMA_PER_TEACHER, DELTA, teachers)


def highest_cost(settings: PateSettings, classes: int) -> float:
    """The most that a query can cost: no two teachers agree."""
    tie = torch.zeros(1, classes, dtype=torch.int64)
    return float(gnmax_epsilon(tie, settings.sigma, settings.delta))


def price_folder(victim: OpenVictim, folder: Folder, metric: Metric) -> Samples:
    """Price every payload of a folder, each as the victim's preprocess reads it. Raises FolderError."""
    units = {unit: number for number, unit in enumerate(dict.fromkeys(each.unit for each in folder.payloads))}
    classes, groups = [], []

    def inputs() -> Iterator[Tensor]:
        made = preprocessed(victim, folder.payloads, "pricing")
        for payload, tensor in zip(folder.payloads, made, strict=True):
            classes.extend([payload.label] * len(tensor))
            groups.extend([units[payload.unit]] * len(tensor))
            yield tensor

    priced = [metric.price(Seen(torch.cat(batch))) for batch in _batches(inputs())]
    return Samples(
        costs=torch.cat([each.costs for each in priced]).numpy(),
        voted=torch.cat([each.labels for each in priced]).numpy(),
        classes=np.array(classes, dtype=np.int64),
        groups=np.array(groups, dtype=np.int64),
        class_names=folder.class_names,
    )


def _batches(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    batch: list[Tensor] = []
    for tensor in tensors:
        batch.append(tensor)
        if sum(len(each) for each in batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _check_fit(ensemble: Ensemble, folder: Folder, victim: OpenVictim) -> None:
    card = ensemble.card
    if card.victim_sha256 != victim.sha256:
        raise CalibrationError("the ensemble was trained for another victim: train teachers for this one")
    if card.class_names != folder.class_names:
        raise CalibrationError(
            f"the data has classes {_names(folder.class_names)}, the teachers were trained on"
            f" {_names(card.class_names)}: give held-out data of the same classes"
        )


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f" ... ({len(names)})" if len(names) > 5 else "")


def _time(order: Order, folder: Folder, samples: int) -> Timing:
    latency = measure_latency(order.victim, [payload.path for payload in folder.payloads], order.seed)
    sample_seconds = latency.median * len(folder.payloads) / samples
    solver = measure_solver()
    return Timing(latency, sample_seconds, solver, measure_floor(sample_seconds / ROOM, solver))


def _origin(order: Order, samples: Samples) -> Provenance:
    return {
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "machine": platform.platform(),
        "seed": order.seed,
        "samples": len(samples.costs),
        "independent_samples": len(np.unique(samples.groups)),
        "vote_accuracy": float((samples.voted == samples.classes).mean()),
        "mean_cost": float(samples.costs.mean()),
    }


def _simulated(conditional: FittedConditional, paper: FittedPaper) -> Provenance:
    return {
        "simulated_users": simulation.DESCRIPTION,
        "cross_fitted_spread": conditional.cross_fitted.spread,
        "cross_fitted_deviation": conditional.cross_fitted.deviation,
        **_outcome("conditional", conditional.outcome),
        **_outcome("paper", paper.outcome),
    }


def _outcome(policy: str, found: Outcome) -> Provenance:
    """Multiples of the floor that the dearest profile pays; up to ROOM lies within the budget."""
    return {
        f"{policy}_users_mean_multiple": found.mean,
        f"{policy}_users_99th_percentile_multiple": found.percentile,
        f"{policy}_dearest_users": f"{found.profile}, {found.queries:,} queries",
    }


def _timed(timing: Timing) -> Provenance:
    return {
        "latency_requests": timing.latency.requests,
        "latency_low_decile_seconds": timing.latency.low,
        "latency_high_decile_seconds": timing.latency.high,
        "floor_puzzle_seconds": timing.floor.measured,
    }
