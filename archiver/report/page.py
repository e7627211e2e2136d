"""The report's page: one HTML file that loads nothing, rendered from a calibration with the template report.html.j2."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from calpow.archiver.calibration.calibration_document import Calibration
from calpow.archiver.calibration.judgement import AIM, scores_in_use
from calpow.archiver.errors import ReportError
from calpow.archiver.report.charts import (
    accuracy_rows,
    growth_chart,
    honest_chart,
    price_chart,
    score_chart,
)
from calpow.archiver.report.formats import duration, exactly
from calpow.archiver.report.multiples import Multiples, score_labels
from calpow.archiver.report.next_step import next_step
from calpow.archiver.report.svg import printable
from calpow.archiver.report.tables import PRICES, attacker_rows, honest_table, score_rows
from calpow.archiver.report.verdicts import verdict
from calpow.handler.leakage.specs import ScoreSpec
from calpow.handler.policy.calibrated_policy import CalibratedPolicy, PolicyName

FOLDER = Path(__file__).parent
TEMPLATE = "report.html.j2"
STYLE = "report.css"
# More kinds of honest users than these are folded away.
MOST_KINDS = 12
# Of the floor's time, what a solver without a start takes.
NEARLY_ALL = 0.95


def write_report(calibration: Calibration, file: Path, output: Path) -> None:
    """Write the page of the calibration in `file`. Raises ReportError for incomplete evidence and unwritable output."""
    page = render(calibration, file)
    try:
        output.write_text(page, encoding="utf-8")
    except OSError as problem:
        raise ReportError(f"{output} cannot be written ({problem.strerror}): give another --output") from problem


def render(calibration: Calibration, file: Path) -> str:
    """Return the whole page of the calibration in `file`. Raises ReportError when the evidence lacks values."""
    outcome = verdict(calibration)
    evidence, sources = calibration.rehearsal, calibration.measurement.sources
    multiples = Multiples.of(calibration)
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            css=Markup((FOLDER / STYLE).read_text(encoding="utf-8")),  # noqa: S704  # our own file
            verdict=outcome,
            step=next_step(calibration, outcome.level, file),
            victim=Path(sources.victim).name,
            data=Path(sources.data).name,
            made=str(calibration.measurement.provenance.get("made", ""))[:10],
            latency=duration(calibration.measurement.latency_seconds),
            floor=duration(calibration.policy.floor_seconds),
            started=_loop_share(calibration.policy),
            horizon=evidence.horizon,
            budget=exactly(evidence.overhead_budget),
            aim=f"{AIM:g}",
            prices=price_chart(evidence, multiples),
            score=score_chart(evidence),
            growth=growth_chart(evidence),
            attackers=attacker_rows(calibration, multiples),
            columns=PRICES,
            users=honest_table(evidence, multiples),
            tolerated=", ".join(evidence.tolerated),
            honest=honest_chart(evidence),
            most_kinds=MOST_KINDS,
            scores=score_rows(calibration.policy),
            levels=calibration.policy.evidence.levels,
            class_count=calibration.policy.shape.classes,
            given="scores" in calibration.measurement.provenance,
            labels=score_labels(evidence),
            in_use=scores_in_use(calibration.policy),
            accuracy=accuracy_rows(evidence) if sources.ensemble else (),
            score_name=evidence.score_name,
            details=_details(calibration),
        )
    )


def _loop_share(policy: CalibratedPolicy) -> str:
    """Return the share of the floor's time that a solver needs which has started already; empty if it is nearly all."""
    share = policy.solver.digest_seconds(policy.floor_seconds) / policy.floor_seconds
    if share >= NEARLY_ALL:
        return ""
    return f"{share:.0%}" if share >= 0.01 else "less than 1%"


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _finalize(value: object) -> object:
    """Return a value of the template with its unprintable characters replaced, unless it is mark-up of ours."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _details(calibration: Calibration) -> Mapping[str, str]:
    """Return the facts of a calibration by their names."""
    policy, measured, evidence = calibration.policy, calibration.measurement, calibration.rehearsal
    parts = {f"{name} (SHA-256)": sha256 for name, sha256 in policy.parts.items()}
    return {
        "model archive": measured.sources.victim,
        "held-out data": measured.sources.data,
        "victim (SHA-256)": policy.victim_sha256,
        **parts,
        "policy": policy.name.value,
        "scores that are computed": "; ".join(_describe(score) for score in policy.scores),
        "unprotected latency": f"{duration(measured.latency_seconds)} a sample",
        "time that the gate adds": f"{duration(measured.added_seconds)} a sample, solving excluded",
        "least puzzle": f"{duration(policy.floor_seconds)} a sample",
        "dearest puzzle": f"{exactly(policy.cap)} the least one",
        "reference client": f"{policy.solver.hashes_per_second:,.0f} hashes a second",
        "samples of honest users": ", ".join(
            f"{profile.name}: {profile.samples:,}" for profile in evidence.honest if not profile.kind
        ),
        "tolerated": ", ".join(evidence.tolerated) or "nothing",
        **_evidence_details(policy),
        **{name.replace("_", " "): _value(fact) for name, fact in measured.provenance.items()},
    }


def _evidence_details(policy: CalibratedPolicy) -> Mapping[str, str]:
    if policy.name is PolicyName.paper:
        return {"growth": f"{policy.paper.base:.6g} for each unit of distance"}
    evidence = policy.evidence
    return {
        "bets": f"levels {_numbers(evidence.levels)}; stakes {_numbers(evidence.stakes)}; of each score",
        "price": f"mean wealth to the power of {evidence.exponent:.3g}",
        "wealth of a new account's boldest bets": f"{math.exp(evidence.entry):.3g}",
    }


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _describe(score: ScoreSpec) -> str:
    settings = ", ".join(f"{name} {setting:g}" for name, setting in score.settings.items())
    return f"{score.label}: {settings}" if settings else score.label


def _value(value: str | int | float) -> str:
    return value if isinstance(value, str) else f"{value:,.6g}" if isinstance(value, float) else f"{value:,}"
