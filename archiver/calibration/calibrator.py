"""The work behind `calpow calibrate`: price held-out payloads, fit the policies, time victim and client, rehearse."""

import math
import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import numpy as np
import torch

from calpow.archiver import packaging as archive
from calpow.archiver.calibration.attackers import ATTACKS
from calpow.archiver.calibration.fitting import (
    CAP,
    ROOM,
    FittedBounds,
    FittedConditional,
    FittedPaper,
    bounds_multiples,
    check_enough,
    conditional_multiples,
    excesses_of,
    fit_bounds,
    fit_conditional,
    fit_paper,
    paper_multiples,
)
from calpow.archiver.calibration.instrument import DELTA, Instrument, make_instrument, reference_attacks
from calpow.archiver.calibration.latency import Latency, measure_latency
from calpow.archiver.calibration.recorded_samples import read_records, vet_records
from calpow.archiver.calibration.rehearsal import Clock, Rule, Stage, rehearse, warnings
from calpow.archiver.calibration.row_order import find_rows, some_rows
from calpow.archiver.calibration.samples import price_folder, some_inputs
from calpow.archiver.calibration.simulated_users import (
    RESAMPLES,
    USERS_PER_RESAMPLE,
    Course,
    Outcome,
    Samples,
    Users,
    merge,
    simulate,
    simulate_accounts,
)
from calpow.archiver.calibration.solver_timing import (
    Floor,
    ReferenceClient,
    mean_solving_seconds,
    measure_floor,
    measure_solver,
    reference_client,
)
from calpow.archiver.cli.calibrate import Order, OrderError
from calpow.archiver.payloads import Folder, list_payloads, read_folder
from calpow.archiver.victim_archive import OpenVictim, open_victim
from calpow.handler.config import ENSEMBLE_FILE, NEIGHBOURS_FILE, file_sha256
from calpow.handler.leakage.ensemble import Ensemble
from calpow.handler.leakage.gnmax.rdp import rdp_epsilon
from calpow.handler.leakage.score import Priced
from calpow.handler.observe.records import meter_name
from calpow.handler.policy.calibration_file import SCHEMA, Calibration, CalibrationError, PolicyName, Rows
from calpow.handler.policy.policies import SolverFit
from calpow.handler.policy.rehearsal_evidence import Evidence
from calpow.puzzle.profiles import PROFILES, Kind

# Inputs that reference attackers are made from, and that the victim's kind of output is read from.
REFERENCE_INPUTS = 1_000
# What pricing and accounting leave of the budget is for solving; but never less than this share of the whole.
LEAST_SHARE = 0.25
# What the draft archive asks for, in stamps of one bit and in multiples of the fewest of a puzzle: what verifying takes
# is then in what the gate adds.
DRAFT_STAMPS = 1.5
# Times that users of every profile are drawn where they are not left over from fitting.
ROUNDS = 50
CONDITIONAL_SCORE = "summed score above legitimate queries of the same class"
PAPER_SCORE = "summed cost above the baseline"
BOUNDS_SCORE = "summed cost"

Provenance = dict[str, str | int | float]


def _untold(line: str) -> None:
    """For those who do not want to be told."""


@dataclass(frozen=True)
class Legitimate:
    """Samples of legitimate users, how many a payload holds, and what is known of where they come from."""

    samples: Samples
    samples_a_payload: float
    facts: Provenance


@dataclass(frozen=True)
class Fits:
    """Every policy, fitted to the same samples."""

    conditional: FittedConditional
    paper: FittedPaper
    bounds: FittedBounds


@dataclass(frozen=True)
class Timing:
    """What this machine takes: `latency` is a payload's; `floor_in_python` seconds of who has no calpow[fast]."""

    latency: Latency
    samples_a_payload: float
    solver: SolverFit
    floor: Floor
    floor_in_python: float

    @property
    def clock(self) -> Clock:
        """Seconds of one sample."""
        by = self.samples_a_payload
        return Clock(self.latency.median / by, self.latency.added / by, self.floor.seconds)


def calibrate(order: Order, tell: Callable[[str], None] = _untold) -> Calibration:
    """Measure a calibration; what was found in records is told, a line each.

    Raises the CalpowError of whichever part does not fit or does not work.
    """
    if not order.output.resolve().parent.is_dir():
        raise CalibrationError(f"{order.output.parent} is not a folder: create it or give another --output")
    client = reference_client(PROFILES[order.puzzle].kind, fast=order.fast)
    order = _absolute(order)
    folder = read_folder(order.data)
    if order.records is None:
        check_enough(folder.units_per_class(), folder.class_names)
    for name in order.attacks.keys() & ATTACKS.keys():
        raise OrderError(f"--attack {name}: {name} is a reference attacker's name, give another")
    strangers = {name: list_payloads(path) for name, path in order.attacks.items()}
    with open_victim(order.victim) as opened:
        inputs = some_inputs(opened, folder.payloads, REFERENCE_INPUTS, order.seed)
        instrument = make_instrument(order, opened, folder, inputs)
        rows = find_rows(opened.victim, some_rows(folder.payloads, order.seed))
        legitimate = _legitimate(order, opened, folder, instrument, len(inputs), tell)
        attacks = reference_attacks(inputs, instrument.meter, order.seed)
        for name, payloads in strangers.items():
            found = price_folder(opened, replace(folder, payloads=payloads), instrument.meter.price, name)
            attacks[name] = Priced(torch.from_numpy(found.costs), torch.from_numpy(found.labels))
    samples = legitimate.samples
    course = Course(order.horizon)
    highest = instrument.highest
    fits = Fits(
        fit_conditional(samples, highest, course, np.random.default_rng(order.seed)),
        fit_paper(samples, highest, course, np.random.default_rng(order.seed)),
        fit_bounds(samples, highest, course, np.random.default_rng(order.seed)),
    )
    draft = _draft(order, client.kind, instrument, rows, fits)
    timing = _time(draft, client, order, folder, legitimate.samples_a_payload)
    timed = replace(
        draft,
        floor_seconds=timing.floor.seconds,
        cap=_cap(order.budget, timing.clock),
        latency_seconds=timing.clock.latency,
        solver=timing.solver,
        provenance=_origin(order, client, legitimate) | _simulated(order, fits) | _timed(timing),
    )
    rule = _rule(timed, course)
    if timed.policy is PolicyName.conditional:
        users = fits.conditional.users
    else:
        users = _all_users(rule, samples, course, np.random.default_rng(order.seed))
    stage = Stage(users, samples, attacks, course, timing.clock)
    return replace(timed, evidence=_evidence(rule, stage, order, instrument.artefacts.ensemble))


def _legitimate(
    order: Order, opened: OpenVictim, folder: Folder, instrument: Instrument, inputs: int, tell: Callable[[str], None]
) -> Legitimate:
    """Legitimate samples, priced now or recorded; `inputs` is how many samples up to REFERENCE_INPUTS payloads held."""
    if order.records is None:
        samples = price_folder(opened, folder, instrument.meter.price)
        right = float((samples.labels == samples.classes).mean())
        return Legitimate(samples, len(samples.costs) / len(folder.payloads), {"answer_accuracy": right})
    parts, shape = _parts(order), instrument.shape
    meter = meter_name(file_sha256(order.victim), parts, instrument.output, instrument.chosen)
    recorded = read_records(order.records, meter, shape.classes, len(instrument.chosen))
    vetted = vet_records(recorded, folder.class_names, instrument.highest, np.random.default_rng(order.seed))
    for line in vetted.told():
        tell(line)
    by = inputs / min(REFERENCE_INPUTS, len(folder.payloads))
    return Legitimate(vetted.samples, by, vetted.facts)


def _parts(order: Order) -> dict[str, str]:
    files = {ENSEMBLE_FILE: order.ensemble, NEIGHBOURS_FILE: order.neighbours}
    return {name: file_sha256(path) for name, path in files.items() if path is not None}


def _absolute(order: Order) -> Order:
    """An opened victim has another working directory: paths are made absolute before."""
    return replace(
        order,
        victim=order.victim.resolve(),
        ensemble=order.ensemble and order.ensemble.resolve(),
        neighbours=order.neighbours and order.neighbours.resolve(),
        records=order.records and order.records.resolve(),
    )


def _draft(order: Order, kind: Kind, instrument: Instrument, rows: Rows, fits: Fits) -> Calibration:
    """The calibration as far as it is known before anything has been timed: everybody pays next to nothing."""
    return Calibration(
        schema=SCHEMA,
        shape=instrument.shape,
        victim_sha256=file_sha256(order.victim),
        parts=_parts(order),
        output=instrument.output,
        rows=rows,
        metrics=instrument.chosen,
        limits=instrument.limits,
        policy=PolicyName(order.policy),
        conditional=fits.conditional.policy,
        paper=fits.paper.policy,
        bounds=fits.bounds.policy,
        puzzle=kind,
        floor_seconds=2 * DRAFT_STAMPS * kind.least_stamps,
        cap=1.0,
        latency_seconds=1e-6,
        solver=SolverFit(0.0, 1.0),
        evidence=Evidence("", order.horizon, order.budget, (), (), 0.0, 0.0, ()),
        provenance={},
    )


def _time(draft: Calibration, client: ReferenceClient, order: Order, folder: Folder, by: float) -> Timing:
    """What this machine takes, where a payload holds `by` samples."""
    with _packaged(draft, order) as protected:
        payloads = [each.path for each in folder.payloads]
        latency = measure_latency(order.victim, protected, draft.puzzle, payloads, order.seed)
    solver = measure_solver(client)
    whole = (order.budget - 1) * latency.median
    solving = max(whole - latency.added, LEAST_SHARE * whole) / by
    floor = measure_floor(client, solving / ROOM, solver)
    plain = reference_client(draft.puzzle, fast=False)
    return Timing(latency, by, floor.on(solver), floor, mean_solving_seconds(plain, floor.work))


@contextmanager
def _packaged(draft: Calibration, order: Order) -> Iterator[Path]:
    """The protected archive of a draft, to time what the gate adds."""
    with tempfile.TemporaryDirectory(prefix="calpow-draft-") as folder:
        measured = Path(folder) / "calibration.json"
        draft.save(measured)
        yield archive.build(
            archive.Order(
                victim=order.victim,
                ensemble=order.ensemble,
                neighbours=order.neighbours,
                calibration=measured,
                export_path=Path(folder),
                model_name="protected",
            )
        )


def _cap(budget: float, clock: Clock) -> float:
    """The longest puzzle in floors: CAP times what a legitimate user may solve, whatever pricing takes of it."""
    return max(CAP, CAP * (budget - 1) * clock.latency / ROOM / clock.floor)


def _rule(made: Calibration, course: Course) -> Rule:
    standards = made.conditional.standards
    names = [each.name.value for each in made.metrics]
    if made.policy is PolicyName.conditional:
        rule = made.conditional
        multiples = partial(conditional_multiples, rule, course.checkpoints, cap=made.cap)
        return Rule(CONDITIONAL_SCORE, partial(excesses_of, rule), multiples, standards, names)
    if made.policy is PolicyName.bounds:
        multiples = partial(bounds_multiples, made.bounds, course.checkpoints, cap=made.cap)
        return Rule(BOUNDS_SCORE, lambda costs, labels: costs[:, 0], multiples, standards, names)
    slope = made.paper.slope
    multiples = partial(paper_multiples, math.log(made.paper.base), cap=made.cap)
    return Rule(PAPER_SCORE, lambda costs, labels: costs[:, 0] - slope, multiples, standards, names)


def _all_users(rule: Rule, samples: Samples, course: Course, rng: np.random.Generator) -> Users:
    """Users of every profile, with no more resampling than drawing their queries."""
    scores = rule.score(samples.costs, samples.labels)
    return merge(
        [
            simulate(scores, samples, course, rng) | simulate_accounts(scores, samples, course, rng)
            for _ in range(ROUNDS)
        ]
    )


def _evidence(rule: Rule, stage: Stage, order: Order, ensemble: Ensemble | None) -> Evidence:
    made = Evidence(
        score_name=rule.score_name,
        horizon=order.horizon,
        overhead_budget=order.budget,
        checkpoints=tuple(stage.course.checkpoints.tolist()),
        profiles=rehearse(rule, stage, np.random.default_rng(order.seed)),
        teacher_accuracy=ensemble.card.teacher_accuracy if ensemble else 0.0,
        vote_accuracy=ensemble.card.vote_accuracy if ensemble else 0.0,
        warnings=(),
    )
    return replace(made, warnings=tuple(warnings(made, stage, with_teachers=ensemble is not None)))


def _origin(order: Order, client: ReferenceClient, legitimate: Legitimate) -> Provenance:
    samples = legitimate.samples
    return {
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "machine": platform.platform(),
        "puzzle": order.puzzle,
        "solver": client.engine.name,
        "seed": order.seed,
        "samples": len(samples.costs),
        "independent_samples": len(np.unique(samples.groups)),
        "mean_cost": float(samples.costs[:, 0].mean()),
        **legitimate.facts,
        **_composed(order, float(samples.costs[:, 0].mean())),
    }


def _composed(order: Order, mean_cost: float) -> Provenance:
    """Where votes are accounted as RDP: epsilon of all that a legitimate user asks up to the horizon."""
    if order.rdp_order is None or order.metrics[0] not in ("pate", "pknn"):
        return {}
    return {"legitimate_epsilon_at_horizon": rdp_epsilon(mean_cost * order.horizon, order.rdp_order, DELTA)}


def _simulated(order: Order, fits: Fits) -> Provenance:
    return {
        "simulated_users": f"{RESAMPLES * USERS_PER_RESAMPLE} users each of: uniform, each single class, Dirichlet"
        f" mixtures; up to {order.horizon:,} queries; from {RESAMPLES} pairs of independent resamples",
        "cross_fitted_spread": fits.conditional.cross_fitted.spread,
        "cross_fitted_deviation": fits.conditional.cross_fitted.deviation,
        **_outcome("conditional", fits.conditional.outcome),
        **_outcome("paper", fits.paper.outcome),
        **_outcome("bounds", fits.bounds.outcome),
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
        "added_seconds": timing.clock.added,
        "floor_seconds_in_python": timing.floor_in_python,
    }
