"""A calibration written by hand, for tests without a model."""

import dataclasses
import math

from calpow.archiver.calibration.calibration_document import (
    Band,
    Calibration,
    Measurement,
    RehearsalEvidence,
    Role,
    SimulatedProfile,
    Sources,
)
from calpow.handler.leakage.specs import InputRange, OutputKind, ScoreName, ScoreSpec, VictimShape
from calpow.handler.ledger.ledger import Totals
from calpow.handler.policy.calibrated_policy import BatchRows, CalibratedPolicy, PolicyName
from calpow.handler.policy.policies import MICRO, Bounds, Conditional, Paper, SolverFit, Standard
from calpow.puzzle.profiles import DEFAULT_PROFILE, PROFILES

FLOOR_SECONDS = 0.001
HASHES_PER_SECOND = 1_000_000.0
# An answer of 2 ms, to which the gate adds nothing: the floor of 1 ms makes it take 1.5 times as long.
UNPROTECTED = Measurement(0.002, 0.0, Sources("victim.mar", "heldout", "teachers.pt"), {})
MEASURED = tuple(field.name for field in dataclasses.fields(Measurement))


def calibrated_policy(**changes: object) -> CalibratedPolicy:
    """Return a policy of two classes, with a floor of 1 ms or 1,000 hashes; legitimate queries cost 1 +- 0.5."""
    policy = CalibratedPolicy(
        shape=VictimShape(2, (4,)),
        victim_sha256="0" * 64,
        parts={"teachers.pt": "1" * 64},
        output=OutputKind.logits,
        rows=BatchRows(in_order=True, counted=True),
        scores=(ScoreSpec(ScoreName.pate, {"sigma": 2.0, "delta": 1e-5, "teachers": 50.0}),),
        input_range=InputRange((-1e9,), (1e9,)),
        name=PolicyName.conditional,
        conditional=Conditional((plain_standard(2),), (0.75, 0.75), (1.0, 1.0), 0.5, 0.05, 1.0, 2.0, 3.0),
        paper=Paper(1.0, 0.0, 1.0075),
        bounds=Bounds(0.5, -1.0, 1.5, 1.0, 1.0075),
        puzzle=PROFILES[DEFAULT_PROFILE].kind,
        floor_seconds=FLOOR_SECONDS,
        cap=2948.0,
        solver=SolverFit(0.0, HASHES_PER_SECOND),
    )
    return dataclasses.replace(policy, **changes)  # type: ignore[arg-type]  # the tests' own mapping


def calibration(**changes: object) -> Calibration:
    """Return a calibration with this policy; `changes` may be of the policy, of the measurement, or the rehearsal."""
    measured = {name: changes.pop(name) for name in MEASURED if name in changes}
    measurement = dataclasses.replace(UNPROTECTED, **measured)  # type: ignore[arg-type]  # as above
    evidence = changes.pop("rehearsal", rehearsal())
    assert isinstance(evidence, RehearsalEvidence)
    return Calibration(calibrated_policy(**changes), measurement, evidence)


def totals(queries: int, cost: float = 0.0, excess: float = 0.0) -> Totals:
    """Return the totals of an account."""
    return Totals(round(cost * MICRO), round(excess * MICRO), queries)


def plain_standard(classes: int) -> Standard:
    """Return a standard with which a query's score is its cost."""
    return Standard((0.0,) * classes, (1.0,) * classes)


def rehearsal() -> RehearsalEvidence:
    """Return one kind of legitimate users, who pay the floor, and one attacker, who pays the cap after 9 queries."""
    honest = SimulatedProfile(
        name="uniform",
        role=Role.legitimate,
        samples=40,
        score=Band((-1.0, -3.0), (0.0, 0.0), (1.0, 3.0)),
        work=Band((1.0, 10.0), (1.0, 10.0), (1.0, 10.0)),
        overhead=(1.5,) * 101,
        auroc={},
    )
    thief = SimulatedProfile(
        name="noise",
        role=Role.attacker,
        samples=100,
        score=Band((1.0, 15.0), (1.5, 17.0), (2.0, 19.0)),
        work=Band((1.0, 2956.0), (1.0, 2957.0), (1.0, 2958.0)),
        overhead=(148.85,) * 101,
        auroc={"pate": 0.92},
    )
    return RehearsalEvidence("excess", 10, 2.0, (1, 10), (honest, thief), 0.8, 0.9, ("few samples",))


# Under which 50 teachers' dissent is priced a hundredfold within dozens of queries.
CONDITIONAL = Conditional(
    standards=(plain_standard(2),),
    class_floors=(0.0, 0.0),
    class_means=(1.0, 2.0),
    deviation=0.8,
    spread=0.25,
    burst=2.5,
    threshold=2.0,
    growth=math.log(100) / 1.5,
)
