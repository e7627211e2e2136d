"""The report's page: one HTML file that loads nothing, rendered from a calibration with the template report.html.j2."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from calpow.archiver.calibration.calibration_document import Calibration, SimulatedProfile
from calpow.archiver.errors import ReportError
from calpow.archiver.report.charts import (
    accuracy_rows,
    growth_chart,
    honest_chart,
    letter,
    payment_chart,
    score_chart,
    style,
)
from calpow.archiver.report.formats import duration, exactly, times
from calpow.archiver.report.multiples import Multiples, metric_names, milestones
from calpow.archiver.report.next_step import next_step
from calpow.archiver.report.svg import printable
from calpow.archiver.report.verdicts import AIM, verdict
from calpow.handler.leakage.specs import ScoreSpec

FOLDER = Path(__file__).parent
TEMPLATE = "report.html.j2"
STYLE = "report.css"
# More kinds of honest users than these are folded away.
MOST_KINDS = 12


@dataclass(frozen=True)
class AttackerRow:
    """An attacker as the tables show it.

    payments: its multiple at each milestone, and whether it is AIM or more. separations: its AUROC by each metric with
    a mark for the best one; None where it is not known.
    """

    name: str
    mark: str
    style: str
    samples: int
    payments: tuple[tuple[str, bool], ...]
    separations: tuple[tuple[float, bool] | None, ...]


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
            horizon=evidence.horizon,
            budget=exactly(evidence.overhead_budget),
            aim=exactly(AIM),
            payments=payment_chart(evidence),
            score=score_chart(evidence),
            growth=growth_chart(evidence, multiples),
            milestones=milestones(evidence),
            metrics=metric_names(evidence),
            attackers=[
                _attacker_row(calibration, multiples, index, attacker)
                for index, attacker in enumerate(evidence.attackers)
            ],
            honest=honest_chart(evidence),
            most_kinds=MOST_KINDS,
            accuracy=accuracy_rows(evidence) if sources.ensemble else (),
            score_name=evidence.score_name,
            details=_details(calibration),
        )
    )


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


def _attacker_row(
    calibration: Calibration, multiples: Multiples, index: int, attacker: SimulatedProfile
) -> AttackerRow:
    evidence = calibration.rehearsal
    paid = [multiples.after(evidence, attacker, queries) for queries in milestones(evidence)]
    names = metric_names(evidence)
    best = max(attacker.auroc.values(), default=0.0)
    aurocs = [attacker.auroc.get(name) for name in names]
    return AttackerRow(
        name=attacker.name,
        mark=letter(index),
        style=style(index),
        samples=attacker.samples,
        payments=tuple((times(multiple), multiple >= AIM) for multiple in paid),
        separations=tuple(None if auroc is None else (auroc, auroc == best and len(names) > 1) for auroc in aurocs),
    )


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
        "metrics": "; ".join(_describe(score) for score in policy.scores),
        "unprotected latency": f"{duration(measured.latency_seconds)} a sample",
        "time that the gate adds": f"{duration(measured.added_seconds)} a sample, solving excluded",
        "least puzzle": f"{duration(policy.floor_seconds)} a sample",
        "dearest puzzle": f"{exactly(policy.cap)} the least one",
        "reference client": f"{policy.solver.hashes_per_second:,.0f} hashes a second",
        "samples of honest users": ", ".join(f"{profile.name}: {profile.samples:,}" for profile in evidence.honest),
        **{name.replace("_", " "): _value(fact) for name, fact in measured.provenance.items()},
    }


def _describe(score: ScoreSpec) -> str:
    settings = ", ".join(f"{name} {setting:g}" for name, setting in score.settings.items())
    return f"{score.name.value}: {settings}" if settings else score.name.value


def _value(value: str | int | float) -> str:
    return value if isinstance(value, str) else f"{value:,.6g}" if isinstance(value, float) else f"{value:,}"
