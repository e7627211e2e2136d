"""A calibration written by hand, for tests without a model."""

import dataclasses
from hashlib import sha256

from calpow.archiver.calibration.calibration_document import (
    Band,
    Calibration,
    Measurement,
    RehearsalEvidence,
    Role,
    SimulatedProfile,
    Sources,
    ThiefFigures,
)
from calpow.handler.leakage.specs import InputRange, OutputKind, ScoreName, ScoreSpec, VictimShape
from calpow.handler.ledger.account import Account
from calpow.handler.ledger.history import DIGEST_BYTES, MICRO, Charge, History, SampleIdentity
from calpow.handler.policy.calibrated_policy import BatchRows, CalibratedPolicy, PolicyName
from calpow.handler.policy.evidence import Evidence, ScoreTest
from calpow.handler.policy.paper import Paper
from calpow.handler.policy.solver_fit import SolverFit
from calpow.puzzle.profiles import DEFAULT_PROFILE, PROFILES

FLOOR_SECONDS = 0.001
HASHES_PER_SECOND = 1_000_000.0
# An answer of 2 ms, to which the gate adds nothing: the floor of 1 ms makes it take 1.5 times as long.
UNPROTECTED = Measurement(0.002, 0.0, Sources("victim.mar", "heldout", "teachers.pt"), {})
MEASURED = tuple(field.name for field in dataclasses.fields(Measurement))


def flat_test(classes: int, *thresholds: float, score: int = 0) -> ScoreTest:
    """Return a test of a score whose thresholds are the same for all classes."""
    return ScoreTest(score, (thresholds,) * classes)


# Ordinary samples cost up to 1.2. Three of ten legitimate ones cost more, and one of twenty costs more than 1.9. The
# first odd sample of an account is priced at 1.2 or 2 floors.
EVIDENCE = Evidence(
    tests=(flat_test(2, 1.2, 1.9),),
    scales=(),
    levels=(0.3, 0.05),
    stakes=(0.5, 0.1),
    exponent=0.4,
    ceiling=25.0,
    entry=0.0,
    likeness=16,
)


def calibrated_policy(**changes: object) -> CalibratedPolicy:
    """Return a policy of two classes, with a floor of 1 ms or 1,000 hashes, and EVIDENCE."""
    policy = CalibratedPolicy(
        shape=VictimShape(2, (4,)),
        victim_sha256="0" * 64,
        parts={"teachers.pt": "1" * 64},
        output=OutputKind.logits,
        rows=BatchRows(in_order=True, counted=True),
        scores=(ScoreSpec(ScoreName.pate, {"sigma": 2.0, "delta": 1e-5, "teachers": 50.0}),),
        input_range=InputRange((-1e9,), (1e9,)),
        name=PolicyName.evidence,
        evidence=EVIDENCE,
        paper=Paper(1.0, 0.0, 1.0075),
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


def history(queries: int, cost: float = 0.0, *wealth: float) -> History:
    """Return the past of an account, from its summed cost and the log wealth of its bets; 0 by default."""
    bets = tuple(round(log * MICRO) for log in wealth) or (0,) * EVIDENCE.bets
    return History(round(cost * MICRO), queries, bets)


def account_with(past: History) -> Account:
    """Return an account of this past, which owes nothing."""
    return Account(past, 0, 1)


def charge_of(policy: CalibratedPolicy, cost: float, name: str, label: int = 0, sketch: bytes = b"") -> Charge:
    """Return the charge of a sample of this name, whose scores all are `cost`."""
    (charge,) = policy.charges([[cost] * len(policy.scores)], [label], [identity(name, sketch)])
    return charge


def identity(name: str, sketch: bytes = b"") -> SampleIdentity:
    """Return the identity of a sample that is told from others by its name."""
    return SampleIdentity(sha256(name.encode()).digest()[:DIGEST_BYTES], sketch)


def rehearsal() -> RehearsalEvidence:
    """Return one kind of legitimate users, who pay the floor, and one attacker, who pays the cap after 9 queries."""
    honest = SimulatedProfile(
        name="uniform",
        role=Role.legitimate,
        kind="",
        own_data=False,
        samples=40,
        score=Band((-1.0, -3.0), (0.0, 0.0), (1.0, 3.0)),
        work=Band((1.0, 10.0), (1.0, 10.0), (1.0, 10.0)),
        overhead=(1.5,) * 101,
        dearest=1.0,
        auroc={},
        figures=None,
    )
    thief = SimulatedProfile(
        name="noise",
        role=Role.attacker,
        kind="",
        own_data=True,
        samples=100,
        score=Band((1.0, 15.0), (1.5, 17.0), (2.0, 19.0)),
        work=Band((1.0, 2956.0), (1.0, 2957.0), (1.0, 2958.0)),
        overhead=(148.85,) * 101,
        dearest=2948.0,
        auroc={"pate": 0.92},
        figures=ThiefFigures(
            pure=2900.0,
            half=2800.0,
            fifth=900.0,
            twentieth=20.0,
            cheapest=2000.0,
            theft=30.0,
            fillers=9,
            five=60.0,
            free=1,
        ),
    )
    return RehearsalEvidence(
        score_name="log wealth",
        horizon=10,
        overhead_budget=2.0,
        checkpoints=(1, 10),
        profiles=(honest, thief),
        tolerated=(),
        intolerant={},
        teacher_accuracy=0.8,
        vote_accuracy=0.9,
        warnings=("few samples",),
    )
