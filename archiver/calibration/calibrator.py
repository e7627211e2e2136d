"""The work behind `calpow calibrate`: price payloads, fit the policies, time victim and client, rehearse."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from calpow.archiver.calibration import provenance
from calpow.archiver.calibration.calibration_document import Calibration, Measurement, RehearsalEvidence, Sources
from calpow.archiver.calibration.fitting import (
    CAP,
    ROOM,
    FittedPolicies,
    bounds_multiples,
    conditional_multiples,
    excesses_of,
    fit_bounds,
    fit_conditional,
    fit_paper,
    paper_multiples,
)
from calpow.archiver.calibration.order import CalibrationOrder
from calpow.archiver.calibration.rehearsal import QueryTimes, RehearsalInputs, RehearsedPolicy, rehearse, warnings
from calpow.archiver.calibration.samples import Samples
from calpow.archiver.calibration.simulated_users import (
    StreamLengths,
    Users,
    merge,
    simulate,
    simulate_accounts,
)
from calpow.archiver.calibration.timing.machine_times import measure_times
from calpow.archiver.calibration.timing.solver_timing import (
    ReferenceClient,
    reference_client,
)
from calpow.archiver.calibration.victim_scores import VictimScores, measure_scores
from calpow.archiver.data.data_source import DataSource
from calpow.archiver.data.payloads import PayloadFolder
from calpow.archiver.victim.victim_archive import VictimArchive, copy_victim
from calpow.handler.errors import CalibrationError
from calpow.handler.policy.calibrated_policy import CalibratedPolicy, PolicyName
from calpow.handler.policy.policies import SolverFit
from calpow.puzzle.profiles import PROFILES, PuzzleKind

# The work that the draft archive asks for, in stamps of one bit and in multiples of a puzzle's fewest stamps: the time
# that the gate adds then includes verification.
DRAFT_STAMPS = 1.5
# Rounds of drawing users of every profile, for policies whose fitting does not draw all of them.
ROUNDS = 50
CONDITIONAL_SCORE = "summed score above legitimate queries of the same class"
PAPER_SCORE = "summed cost above the baseline"
BOUNDS_SCORE = "summed cost"


def _ignore(line: str) -> None:
    """Drop a line."""


def calibrate(order: CalibrationOrder, log: Callable[[str], None] = _ignore) -> Calibration:
    """Measure and return a calibration; `log` is called with each line about the records that were used.

    Raises the CalpowError of whichever part does not fit or fails.
    """
    if not order.output.resolve().parent.is_dir():
        raise CalibrationError(f"{order.output.parent} is not a folder: create it or give another --output")
    client = reference_client(PROFILES[order.puzzle].kind, fast=order.fast)
    sources = provenance.name_sources(order)
    order = _absolute(order)
    with copy_victim(order.victim) as victim:
        folder = DataSource(order.data, order.part, order.classes).read(victim.path)
        for note in folder.notes:
            log(f"note: {note}")
        return _calibrate(order, sources, client, victim, folder, log)


def _calibrate(
    order: CalibrationOrder,
    sources: Sources,
    client: ReferenceClient,
    victim: VictimArchive,
    folder: PayloadFolder,
    log: Callable[[str], None],
) -> Calibration:
    measured = measure_scores(order, victim, folder, log)
    fits = _fit(order, measured)
    draft = _draft(order, client.kind, measured, fits)
    times = measure_times(draft, client, order, victim, folder, measured.legitimate.samples_per_payload)
    policy = replace(
        draft,
        floor_seconds=times.floor.seconds,
        cap=_cap(order.budget, times.of_query),
        solver=times.solver,
    )
    facts = provenance.describe(order, client, measured.legitimate, fits, times)
    rehearsal = _rehearse(order, policy, fits, measured, times.of_query)
    rehearsal = replace(rehearsal, warnings=(*rehearsal.warnings, *times.warnings))
    measurement = Measurement(times.of_query.latency, times.of_query.added, sources, facts)
    return Calibration(policy, measurement, rehearsal)


def _fit(order: CalibrationOrder, measured: VictimScores) -> FittedPolicies:
    """Fit every policy, each with a generator of its own, so that none depends on another."""
    samples, highest = measured.legitimate.samples, measured.setup.highest
    lengths = StreamLengths(order.horizon)
    return FittedPolicies(
        fit_conditional(samples, highest, lengths, np.random.default_rng(order.seed)),
        fit_paper(samples, highest, lengths, np.random.default_rng(order.seed)),
        fit_bounds(samples, highest, lengths, np.random.default_rng(order.seed)),
    )


def _absolute(order: CalibrationOrder) -> CalibrationOrder:
    """Return the order with absolute paths: an opened victim has another working directory."""
    return replace(
        order,
        victim=order.victim.resolve(),
        ensemble=order.ensemble and order.ensemble.resolve(),
        neighbours=order.neighbours and order.neighbours.resolve(),
        records=order.records and order.records.resolve(),
        output=order.output.resolve(),
        classes=order.classes and order.classes.resolve(),
    )


def _draft(order: CalibrationOrder, kind: PuzzleKind, measured: VictimScores, fits: FittedPolicies) -> CalibratedPolicy:
    """Return the policy before anything has been timed: every query costs next to nothing."""
    setup = measured.setup
    return CalibratedPolicy(
        shape=setup.shape,
        victim_sha256=measured.victim_sha256,
        parts=measured.parts,
        output=setup.output,
        rows=measured.rows,
        scores=setup.scores,
        input_range=setup.input_range,
        name=PolicyName(order.policy),
        conditional=fits.conditional.policy,
        paper=fits.paper.policy,
        bounds=fits.bounds.policy,
        puzzle=kind,
        floor_seconds=2 * DRAFT_STAMPS * kind.least_stamps,
        cap=1.0,
        solver=SolverFit(0.0, 1.0),
    )


def _cap(budget: float, times: QueryTimes) -> float:
    """Return the longest puzzle in floors: CAP times what a legitimate user may solve, however long pricing takes."""
    return max(CAP, CAP * (budget - 1) * times.latency / ROOM / times.floor)


def _rehearsed(policy: CalibratedPolicy, lengths: StreamLengths) -> RehearsedPolicy:
    """Return the chosen policy as the rehearsal needs it."""
    standards = policy.conditional.standards
    names = [score.name.value for score in policy.scores]
    if policy.name is PolicyName.conditional:
        excesses = partial(excesses_of, policy.conditional)
        multiples = partial(conditional_multiples, policy.conditional, lengths.checkpoints, cap=policy.cap)
        return RehearsedPolicy(CONDITIONAL_SCORE, excesses, multiples, standards, names)
    if policy.name is PolicyName.bounds:
        multiples = partial(bounds_multiples, policy.bounds, lengths.checkpoints, cap=policy.cap)
        return RehearsedPolicy(BOUNDS_SCORE, lambda costs, labels: costs[:, 0].numpy(), multiples, standards, names)
    slope = policy.paper.slope
    multiples = partial(paper_multiples, math.log(policy.paper.base), cap=policy.cap)
    return RehearsedPolicy(PAPER_SCORE, lambda costs, labels: costs[:, 0].numpy() - slope, multiples, standards, names)


def _all_users(rehearsed: RehearsedPolicy, samples: Samples, lengths: StreamLengths, rng: np.random.Generator) -> Users:
    """Draw users of every profile from the samples as they are, not from resamples."""
    scores = rehearsed.score(samples.costs, samples.labels)
    return merge(
        [
            simulate(scores, samples, lengths, rng) | simulate_accounts(scores, samples, lengths, rng)
            for _ in range(ROUNDS)
        ]
    )


def _rehearse(
    order: CalibrationOrder, policy: CalibratedPolicy, fits: FittedPolicies, measured: VictimScores, times: QueryTimes
) -> RehearsalEvidence:
    lengths, samples = StreamLengths(order.horizon), measured.legitimate.samples
    rehearsed = _rehearsed(policy, lengths)
    if policy.name is PolicyName.conditional:
        users = fits.conditional.users
    else:
        users = _all_users(rehearsed, samples, lengths, np.random.default_rng(order.seed))
    inputs = RehearsalInputs(users, samples, measured.attacks, lengths, times)
    ensemble = measured.setup.artefacts.ensemble
    evidence = RehearsalEvidence(
        score_name=rehearsed.score_name,
        horizon=order.horizon,
        overhead_budget=order.budget,
        checkpoints=tuple(lengths.checkpoints.tolist()),
        profiles=rehearse(rehearsed, inputs, np.random.default_rng(order.seed)),
        teacher_accuracy=ensemble.card.teacher_accuracy if ensemble else 0.0,
        vote_accuracy=ensemble.card.vote_accuracy if ensemble else 0.0,
        warnings=(),
    )
    return replace(evidence, warnings=tuple(warnings(evidence, inputs, with_teachers=ensemble is not None)))
