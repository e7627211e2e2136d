"""The facts that the report states beside a calibration's rehearsal."""

from collections.abc import Mapping
from dataclasses import dataclass

from calpow.archiver.calibration.calibration_document import Calibration
from calpow.handler.leakage.registry import ScoreSpec


@dataclass(frozen=True)
class ReportFacts:
    """Members of a Calibration, as the report prints them; each of `metrics` is described with its settings."""

    victim_sha256: str
    parts: Mapping[str, str]
    policy: str
    metrics: tuple[str, ...]
    floor_seconds: float
    latency_seconds: float
    cap: float
    hashes_per_second: float
    provenance: Mapping[str, str | int | float]

    @classmethod
    def of(cls, calibration: Calibration) -> "ReportFacts":
        """Return the facts of a calibration."""
        policy = calibration.policy
        return cls(
            victim_sha256=policy.victim_sha256,
            parts=policy.parts,
            policy=policy.name.value,
            metrics=tuple(_describe(score) for score in policy.scores),
            floor_seconds=policy.floor_seconds,
            latency_seconds=calibration.measurement.latency_seconds,
            cap=policy.cap,
            hashes_per_second=policy.solver.hashes_per_second,
            provenance=calibration.measurement.provenance,
        )


def _describe(score: ScoreSpec) -> str:
    settings = ", ".join(f"{name} {value:g}" for name, value in score.settings.items())
    return f"{score.name.value}: {settings}" if settings else score.name.value
