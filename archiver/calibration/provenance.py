"""The provenance of a calibration: when, where and from what it was made, as facts for the report."""

import platform
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch

from calpow.archiver.calibration.calibration_document import Provenance, Sources
from calpow.archiver.calibration.order import CalibrationOrder
from calpow.archiver.calibration.timing.machine_times import MachineTimes
from calpow.archiver.calibration.timing.solver_timing import ReferenceClient
from calpow.archiver.calibration.victim_scores import LegitimateUse
from calpow.archiver.data.media_types import BODY
from calpow.archiver.teachers.vote_noise import DELTA
from calpow.handler.leakage.gnmax.composition import rdp_epsilon


def name_sources(order: CalibrationOrder) -> Sources:
    """Return the paths of an order, those below the working directory relative to it."""
    return Sources(
        victim=_typed(order.victim),
        data=_typed(order.data),
        ensemble=_typed(order.ensemble) if order.ensemble else None,
        neighbours=_typed(order.neighbours) if order.neighbours else None,
    )


def _typed(path: Path) -> str:
    """Return a path as one would type it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def describe(
    order: CalibrationOrder,
    client: ReferenceClient,
    legitimate: LegitimateUse,
    times: MachineTimes,
) -> Provenance:
    """Return all facts about a calibration."""
    return _origin(order, client, legitimate) | _timed(times)


def _origin(order: CalibrationOrder, client: ReferenceClient, legitimate: LegitimateUse) -> Provenance:
    """Describe the machine, the order and the samples."""
    samples, mean_cost = legitimate.samples, float(legitimate.samples.first_costs.mean())
    return {
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "machine": platform.platform(),
        "puzzle": order.puzzle,
        "solver": client.engine.name,
        "seed": order.seed,
        **how_read(order),
        **chosen_options(order),
        "samples": len(samples.costs),
        "independent_samples": len(np.unique(samples.groups.numpy())),
        "mean_cost": mean_cost,
        **legitimate.facts,
        **_composed(order, mean_cost),
    }


def how_read(order: CalibrationOrder) -> Provenance:
    """Return how the data were read, where that was not by default; `next_step` gives the options again."""
    files = {"classes": order.classes, "records": order.records}
    read: Provenance = {name: _typed(path) for name, path in files.items() if path is not None}
    return read if order.part == BODY else read | {"part": order.part}


def chosen_options(order: CalibrationOrder) -> Provenance:
    """Return the options that the owner chose otherwise than by default; `next_step` gives them again."""
    chosen: Provenance = {f"attack {name}": _typed(folder) for name, folder in order.attacks.items()}
    if order.scores:
        chosen["scores"] = " ".join(order.scores)
    if order.tolerate is not None:
        chosen["tolerate"] = ",".join(order.tolerate) or "none"
    if order.rdp_order is not None:
        chosen["rdp_order"] = order.rdp_order
    if order.cap_seconds != CalibrationOrder.cap_seconds:
        chosen["cap_seconds"] = order.cap_seconds
    if not order.fast:
        chosen["reference_client"] = "python"
    return chosen


def _composed(order: CalibrationOrder, mean_cost: float) -> Provenance:
    """Return epsilon of all queries of a legitimate user up to the horizon, where votes are accounted as RDP."""
    sums_votes = order.ensemble is not None or order.scores[:1] == ("pknn",)
    if order.rdp_order is None or not sums_votes:
        return {}
    return {"legitimate_epsilon_at_horizon": rdp_epsilon(mean_cost * order.horizon, order.rdp_order, DELTA)}


def _timed(times: MachineTimes) -> Provenance:
    return {
        "latency_requests": times.latency.requests,
        "latency_low_decile_seconds": times.latency.low,
        "latency_high_decile_seconds": times.latency.high,
        "floor_share_of_latency": times.floor_share,
        "floor_digest_seconds": times.solver.digest_seconds(times.floor.seconds),
        "floor_seconds_in_python": times.floor_in_python,
    }
