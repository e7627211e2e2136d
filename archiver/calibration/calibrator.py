"""The work behind `calpow calibrate`: price payloads, fit the policies, time victim and client, rehearse."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from calpow.archiver.calibration import provenance
from calpow.archiver.calibration.calibration_document import (
    Calibration,
    Measurement,
    RehearsalEvidence,
    SimulatedProfile,
    Sources,
)
from calpow.archiver.calibration.judgement import scores_in_use
from calpow.archiver.calibration.order import CalibrationOrder
from calpow.archiver.calibration.policy_fit.affordability import Limits
from calpow.archiver.calibration.policy_fit.evidence_data import EvidenceData
from calpow.archiver.calibration.policy_fit.evidence_fit import fit_evidence
from calpow.archiver.calibration.policy_fit.fitted_evidence import (
    Candidate,
    FittedEvidence,
    evidence_policy,
    worker_scores,
)
from calpow.archiver.calibration.policy_fit.paper_fit import FittedPaper, fit_paper
from calpow.archiver.calibration.policy_fit.score_choice import candidate_tests, joint_scores
from calpow.archiver.calibration.policy_fit.user_profiles import profiles
from calpow.archiver.calibration.rehearsal import (
    EvidencePricing,
    PaperPricing,
    Pricing,
    QueryTimes,
    RehearsalInputs,
    Streams,
    dearest_class_mix,
    rehearse,
    rehearse_prices,
    separations,
)
from calpow.archiver.calibration.samples import Floats, Ints, Samples
from calpow.archiver.calibration.sufficiency import check_varying, constant_scores
from calpow.archiver.calibration.timing.machine_times import busy_share, measure_times, serving
from calpow.archiver.calibration.timing.solver_timing import (
    ReferenceClient,
    reference_client,
)
from calpow.archiver.calibration.timing.tight_loop import TightLoop
from calpow.archiver.calibration.victim_scores import VictimScores, measure_scores
from calpow.archiver.calibration.warnings import threshold_warnings, tight_loop_warnings, warnings
from calpow.archiver.data.data_source import DataSource
from calpow.archiver.data.payloads import PayloadFolder
from calpow.archiver.victim.victim_archive import VictimArchive, copy_victim
from calpow.handler.errors import CalibrationError
from calpow.handler.leakage.score import ScoredSamples
from calpow.handler.leakage.specs import ScoreSpec
from calpow.handler.policy.calibrated_policy import CalibratedPolicy, PolicyName
from calpow.handler.policy.joint_oddness import JOINT
from calpow.handler.policy.solver_fit import SolverFit
from calpow.puzzle.profiles import PROFILES, PuzzleKind

# The work that the draft archive asks for, in stamps of one bit and in multiples of a puzzle's fewest stamps: the time
# that the gate adds then includes verification.
DRAFT_STAMPS = 1.5
# What honest users of every class mix may pay, in floors, at the 99th percentile. The floor follows from what they do
# pay, so that a whole answer stays within the budget of the owner.
CLASS_MIX_BUDGET = 2.0


@dataclass(frozen=True)
class _Fits:
    """The fitted policies, and the scores that a worker computes: PATE first, then those that are bet on."""

    scores: tuple[ScoreSpec, ...]
    evidence: FittedEvidence
    paper: FittedPaper


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
    candidates = _varying(order, measured.legitimate.samples, measured.setup.scores, log)
    fits = _fit(order, measured, candidates)
    draft = _draft(order, client.kind, measured, fits)
    busy = busy_share()
    with serving(draft, order, victim) as server:
        # This takes about as long as TorchServe's start.
        is_shown = bool(measured.legitimate.tolerated) and draft.name is PolicyName.evidence
        intolerant = _fit_evidence(order, measured, candidates, tolerating=False) if is_shown else None
        paying = _rehearse(order, draft, fits, measured, QueryTimes(1.0, 0.0, 0.0), honest_only=True)
        latency = server.measure(folder.payloads, order.seed)
    room = dearest_class_mix(paying)
    times = measure_times(latency, client, order.budget, measured.legitimate.samples_per_payload, room, busy)
    policy = replace(
        draft,
        puzzle=times.puzzle,
        floor_seconds=times.floor.seconds,
        cap=max(1.0, order.cap_seconds / times.floor.seconds),
        solver=times.solver,
    )
    facts = provenance.describe(order, client, measured.legitimate, times)
    simulated = _rehearse(order, policy, fits, measured, times.of_query)
    prices = {} if intolerant is None else _prices(order, intolerant, measured, times.of_query, policy.cap)
    rehearsal = _evidence(order, policy, fits, measured, simulated, prices, times.of_query)
    rehearsal = replace(rehearsal, warnings=(*rehearsal.warnings, *times.warnings))
    measurement = Measurement(times.of_query.latency, times.of_query.added, sources, facts)
    return Calibration(policy, measurement, rehearsal)


def _fit(order: CalibrationOrder, measured: VictimScores, candidates: Sequence[Candidate]) -> _Fits:
    """Fit every policy, each with a generator of its own, so that none depends on another."""
    samples, limits = measured.legitimate.samples, Limits(CLASS_MIX_BUDGET)
    evidence = _fit_evidence(order, measured, candidates, tolerating=True)
    paper = fit_paper(samples, limits.budget, limits.cap, np.random.default_rng(order.seed))
    return _Fits(worker_scores(measured.setup.scores, evidence), evidence, paper)


def _fit_evidence(
    order: CalibrationOrder, measured: VictimScores, candidates: Sequence[Candidate], *, tolerating: bool
) -> FittedEvidence:
    """Fit the policy of evidence; unless it is `tolerating`, what is tolerated is only shown to it."""
    specs, legitimate = measured.setup.scores, measured.legitimate
    data = EvidenceData(legitimate.samples, legitimate.tolerated, {}, measured.attacks, measured.own_data)
    if not tolerating:
        data = replace(data, tolerated={}, shown=data.tolerated)
    joint, limits, rng = joint_scores(specs, candidates), Limits(CLASS_MIX_BUDGET), np.random.default_rng(order.seed)
    return fit_evidence(data, candidates, joint, limits, rng, every=bool(order.scores))


def _varying(
    order: CalibrationOrder, samples: Samples, specs: Sequence[ScoreSpec], log: Callable[[str], None]
) -> list[Candidate]:
    """Return the tests of an order without those of scores that are the same for every sample, which `log` is told of.

    Raises FittingError for such a score that the order names, that the paper's policy sums, or where no other is left.
    """
    labels = [spec.label for spec in specs]
    constant = constant_scores(samples, labels)
    candidates = candidate_tests(specs, order.scores)
    used = list(dict.fromkeys(labels[candidate.score] for candidate in candidates))
    if order.policy == PolicyName.paper.value:
        check_varying(constant, labels[:1])
    if order.scores or set(used) <= constant.keys():
        check_varying(constant, used)
    for label in used:
        if label in constant:
            log(f"note: score {label} is {constant[label]:.6g} for every legitimate sample, and is not used")
    return [candidate for candidate in candidates if labels[candidate.score] not in constant]


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


def _draft(order: CalibrationOrder, kind: PuzzleKind, measured: VictimScores, fits: _Fits) -> CalibratedPolicy:
    """Return the policy before anything has been timed: every query costs next to nothing."""
    setup = measured.setup
    return CalibratedPolicy(
        shape=setup.shape,
        victim_sha256=measured.victim_sha256,
        parts=measured.parts,
        output=setup.output,
        rows=measured.rows,
        scores=fits.scores,
        input_range=setup.input_range,
        name=PolicyName(order.policy),
        evidence=evidence_policy(fits.evidence, setup.scores, fits.scores, measured.likeness),
        paper=fits.paper.policy,
        puzzle=kind,
        floor_seconds=2 * DRAFT_STAMPS * kind.least_stamps,
        cap=1.0,
        solver=SolverFit(0.0, 1.0),
    )


def _rehearse(
    order: CalibrationOrder,
    policy: CalibratedPolicy,
    fits: _Fits,
    measured: VictimScores,
    times: QueryTimes,
    *,
    honest_only: bool = False,
) -> tuple[SimulatedProfile, ...]:
    """Return what users and attackers pay; `honest_only` those of class mixes alone, under the fit's own cap."""
    rng = np.random.default_rng(order.seed)
    cap = fits.evidence.cap if honest_only else policy.cap
    pricing: Pricing = PaperPricing(policy.paper, cap)
    fit = fits.evidence
    if policy.name is PolicyName.evidence:
        pricing = EvidencePricing(fit, cap)
    inputs = _inputs(order, fit, measured, times, honest_only)
    return rehearse(pricing, inputs if honest_only else replace(inputs, auroc=_separations(fit, measured)), rng)


def _inputs(
    order: CalibrationOrder, fit: FittedEvidence, measured: VictimScores, times: QueryTimes, honest_only: bool
) -> RehearsalInputs:
    legitimate = measured.legitimate
    kinds = {"": legitimate.samples.first_costs} | {
        name: scored.costs[:, 0].numpy() for name, scored in legitimate.tolerated.items()
    }
    users = profiles(legitimate.samples, () if honest_only else tuple(legitimate.tolerated))
    attacks = {} if honest_only else measured.attacks
    return RehearsalInputs(
        samples=legitimate.samples,
        profiles=users,
        honest={name: Streams(codes, kinds[name]) for name, codes in fit.held_out.items()},
        attacks={
            name: Streams(fit.attacks[name], _costs(scored.costs[:, 0].numpy(), fit.judged[name]))
            for name, scored in attacks.items()
        },
        own_data=measured.own_data,
        auroc={},
        times=times,
        horizon=order.horizon,
    )


def _separations(fit: FittedEvidence, measured: VictimScores) -> dict[str, dict[str, float]]:
    """Return the AUROC of each score, and of the joint oddness if there is one, by name of the attacker."""
    samples, strangers = measured.legitimate.samples, measured.attacks
    labels = [spec.label for spec in measured.setup.scores]
    reference = ScoredSamples(samples.costs, samples.labels)
    if fit.scales is not None:
        labels.append(JOINT)
        reference = fit.scales.extended(reference)
        strangers = {name: fit.scales.extended(scored) for name, scored in strangers.items()}
    return {name: separations(scored, reference, labels) for name, scored in strangers.items()}


def _costs(costs: Floats, index: Ints) -> Floats:
    chosen: Floats = costs[index]
    return chosen


def _evidence(
    order: CalibrationOrder,
    policy: CalibratedPolicy,
    fits: _Fits,
    measured: VictimScores,
    simulated: tuple[SimulatedProfile, ...],
    intolerant: Mapping[str, float],
    times: QueryTimes,
) -> RehearsalEvidence:
    ensemble = measured.setup.artefacts.ensemble
    is_paper = policy.name is PolicyName.paper
    evidence = RehearsalEvidence(
        score_name=PaperPricing.score_name if is_paper else EvidencePricing.score_name,
        horizon=order.horizon,
        overhead_budget=order.budget,
        checkpoints=tuple(_inputs(order, fits.evidence, measured, times, True).checkpoints.tolist()),
        profiles=simulated,
        tolerated=tuple(measured.legitimate.tolerated),
        intolerant=intolerant,
        teacher_accuracy=ensemble.card.teacher_accuracy if ensemble else 0.0,
        vote_accuracy=ensemble.card.vote_accuracy if ensemble else 0.0,
        warnings=(),
    )
    card = ensemble.card if ensemble else None
    found = warnings(evidence, measured.legitimate.samples, times, card, scores_in_use(policy))
    if not is_paper:
        found += threshold_warnings(policy.evidence, measured.legitimate.samples.class_names)
    loop = tight_loop_warnings(TightLoop.of(policy, times.latency), evidence)
    return replace(evidence, warnings=(*found, *loop))


def _prices(
    order: CalibrationOrder, fit: FittedEvidence, measured: VictimScores, times: QueryTimes, cap: float
) -> dict[str, float]:
    """Return what users and thieves would pay by a fit, by name of the profile."""
    rng = np.random.default_rng(order.seed)
    return rehearse_prices(EvidencePricing(fit, cap), _inputs(order, fit, measured, times, False), rng)
