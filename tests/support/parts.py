"""A calibration made by hand, and a victim that is priced by its payloads' texts: for tests without a model."""

from collections.abc import Sequence

import torch

from calpow.handler.gate import problems
from calpow.handler.gate.decision import Ran, Request
from calpow.handler.leakage.input_range import Limits
from calpow.handler.leakage.output import OutputKind
from calpow.handler.leakage.registry import MetricName
from calpow.handler.leakage.score import Priced
from calpow.handler.policy.calibration_file import SCHEMA, Calibration, Chosen, PolicyName, Rows, Shape
from calpow.handler.policy.policies import Bounds, Conditional, Paper, SolverFit, Standard
from calpow.handler.policy.rehearsal_evidence import Band, Evidence, Profile, Role
from calpow.puzzle.profiles import DEFAULT_PROFILE, PROFILES

FLOOR_SECONDS = 0.001
HASHES_PER_SECOND = 1_000_000.0


def calibration(**changes: object) -> Calibration:
    """Two classes, a floor of 1 ms or 1,000 hashes; legitimate queries cost 1 +- 0.5."""
    members: dict[str, object] = {
        "schema": SCHEMA,
        "shape": Shape(2, (4,)),
        "victim_sha256": "0" * 64,
        "parts": {"teachers.pt2": "1" * 64},
        "output": OutputKind.logits,
        "rows": Rows(in_order=True, counted=True),
        "metrics": (Chosen(MetricName.pate, {"sigma": 2.0, "delta": 1e-5, "teachers": 50.0}),),
        "limits": Limits((-1e9,), (1e9,)),
        "policy": PolicyName.conditional,
        "conditional": Conditional((plain_standard(2),), (0.75, 0.75), (1.0, 1.0), 0.5, 0.05, 1.0, 2.0, 3.0),
        "paper": Paper(1.0, 0.0, 1.0075),
        "bounds": Bounds(0.5, -1.0, 1.5, 1.0, 1.0075),
        "puzzle": PROFILES[DEFAULT_PROFILE].kind,
        "floor_seconds": FLOOR_SECONDS,
        "cap": 2948.0,
        "latency_seconds": 0.002,
        "solver": SolverFit(0.0, HASHES_PER_SECOND),
        "provenance": {},
        "evidence": evidence(),
        **changes,
    }
    return Calibration(**members)  # type: ignore[arg-type]  # the tests' own mapping


def plain_standard(classes: int) -> Standard:
    """With which a query's score is its cost."""
    return Standard((0.0,) * classes, (1.0,) * classes)


def evidence() -> Evidence:
    """One kind of legitimate users, who pay the floor, and one attacker, who pays the cap from his tenth query."""
    honest = Profile(
        name="uniform",
        role=Role.legitimate,
        samples=40,
        score=Band((-1.0, -3.0), (0.0, 0.0), (1.0, 3.0)),
        work=Band((1.0, 10.0), (1.0, 10.0), (1.0, 10.0)),
        overhead=(1.5,) * 101,
        auroc={},
    )
    thief = Profile(
        name="noise",
        role=Role.attacker,
        samples=100,
        score=Band((1.0, 15.0), (1.5, 17.0), (2.0, 19.0)),
        work=Band((1.0, 2956.0), (1.0, 2957.0), (1.0, 2958.0)),
        overhead=(1474.5,) * 101,
        auroc={"pate": 0.92},
    )
    return Evidence("excess", 10, 2.0, (1, 10), (honest, thief), 0.8, 0.9, ("few samples",))


class TextRunner:
    """A victim whose answers' costs are read from their payloads.

    `1.5` is one sample of that cost, `1.5 2.0` are two, and none if there is nothing; `?` cannot be read, `!` fails
    after its model was called, `*` is answered and cannot be priced. `calls` are the payloads that came together.
    """

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    @property
    def passes(self) -> list[str]:
        """The payloads of all passes."""
        return [text for call in list(self.calls) for text in call]

    def run(self, requests: Sequence[Request]) -> list[Ran]:
        """Run the victim on requests whose payloads are texts."""
        texts = [str(request.payload) for request in requests]
        self.calls.append(texts)
        return [self._run(text) for text in texts]

    def _run(self, text: str) -> Ran:
        if "?" in text:
            return Ran(None, None, problems.bad_payload("the model cannot read this payload"))
        if "!" in text:
            return Ran(f"failure on {text}", None)
        if "*" in text:
            return Ran(f"answer to {text}", None, problems.PRICING_UNAVAILABLE)
        costs = torch.tensor([float(each) for each in text.split()], dtype=torch.float64).unsqueeze(1)
        return Ran(f"answer to {text}", Priced(costs, torch.zeros(len(costs), dtype=torch.int64)))
