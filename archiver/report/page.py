"""The report's page: one HTML file that loads nothing, made from evidence and facts."""

from pathlib import Path

from calpow.archiver.calibration.calibration_document import Calibration, RehearsalEvidence, SimulatedProfile
from calpow.archiver.errors import ReportError
from calpow.archiver.report.charts import accuracy_bars, letter, overhead_rows, score_chart, style, work_chart
from calpow.archiver.report.facts import ReportFacts
from calpow.archiver.report.style import CSS
from calpow.archiver.report.svg import escape
from calpow.archiver.report.verdicts import (
    AIM,
    Verdict,
    attackers,
    check,
    dearest,
    duration,
    exactly,
    honest,
    metric_names,
    milestones,
    multiple,
    times,
    verdicts,
    work_at,
)


def write_report(calibration: Calibration, output: Path) -> None:
    """Write the page of a calibration. Raises ReportError for incomplete evidence and unwritable output."""
    page = render(calibration.rehearsal, ReportFacts.of(calibration))
    try:
        output.write_text(page, encoding="utf-8")
    except OSError as problem:
        raise ReportError(f"{output} cannot be written ({problem.strerror}): give another --output") from problem


def render(evidence: RehearsalEvidence, facts: ReportFacts) -> str:
    """Return the whole page. Raises ReportError when the evidence is empty or lacks values."""
    check(evidence)
    body = "\n".join(
        (
            _head(facts),
            f'<div class="cards">{"".join(map(_card, verdicts(evidence)))}</div>',
            _warnings(evidence),
            f'<div class="pair">{_score(evidence)}{_work(evidence, facts)}</div>',
            _attackers(evidence, facts),
            _overhead(evidence),
            f'<div class="pair">{_accuracy(evidence)}{_metrics(evidence)}</div>',
            _details(evidence, facts),
        )
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>Calpow: calibration of victim {escape(facts.victim_sha256[:12])}</title>
<style>{CSS}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def _head(facts: ReportFacts) -> str:
    made = f", made on {str(facts.provenance['made'])[:10]}" if "made" in facts.provenance else ""
    return f"""<header>
<h1>What answers will cost honest users and thieves</h1>
<p class="soft wide">Calibration of the model {escape(facts.victim_sha256[:12])}…{escape(made)}, \
simulated under the {escape(facts.policy)} policy</p>
</header>"""


def _card(verdict: Verdict) -> str:
    kind, state = ("good", "✓ as it should be") if verdict.good else ("bad", "! look closer")
    return f"""<section class="card {kind}" style="margin:0">
<h2>{escape(verdict.question)}</h2>
<p class="figure">{escape(verdict.figure)}</p>
<p class="state">{state}</p>
<p>{escape(verdict.sentence)}</p>
</section>"""


def _warnings(evidence: RehearsalEvidence) -> str:
    if not evidence.warnings:
        return '<p class="soft" style="margin-top:16px">The calibration gave no warnings.</p>'
    items = "".join(f"<li>{escape(each)}</li>" for each in evidence.warnings)
    return f'<section class="warnings"><h2>⚠ Before you deploy</h2><ul>{items}</ul></section>'


def _score(evidence: RehearsalEvidence) -> str:
    return _figure(
        "How attackers stand out",
        f"The score the policy acts on ({evidence.score_name}), mean over an account's queries so far. Grey: honest"
        " users, from the 1st to the 99th percentile of every kind, and their medians. A line that leaves the grey is"
        " a thief whom the policy can tell.",
        f'<p class="axis-name"><span>{escape(evidence.score_name)} a query</span></p>'
        f'<div class="plot">{score_chart(evidence).draw()}</div>',
        evidence,
    )


def _work(evidence: RehearsalEvidence, facts: ReportFacts) -> str:
    return _figure(
        "What they have to work for it",
        "Summed solving time of the median user of each kind, in floors and as time of the reference client. Grey:"
        f" honest users as before. The straight line is the least: one floor ({duration(facts.floor_seconds)}) a"
        " query.",
        '<p class="axis-name"><span>floors (log scale)</span><span>reference client</span></p>'
        f'<div class="plot right">{work_chart(evidence, facts.floor_seconds).draw()}</div>',
        evidence,
    )


def _figure(title: str, caption: str, drawing: str, evidence: RehearsalEvidence) -> str:
    return (
        f"<figure><h2>{escape(title)}</h2><figcaption>{escape(caption)}</figcaption>{drawing}"
        f'<p class="axis-name below">queries (log scale)</p>{_legend(evidence)}</figure>'
    )


def _legend(evidence: RehearsalEvidence) -> str:
    grey = (
        '<li><svg class="swatch" aria-hidden="true"><rect class="band" width="34" height="18"/></svg>honest users</li>'
    )
    thieves = "".join(
        f"<li>{_swatch(index)}<span>{escape(each.name)}</span></li>" for index, each in enumerate(attackers(evidence))
    )
    return f'<ul class="legend">{grey}{thieves}</ul>'


def _swatch(index: int) -> str:
    return (
        f'<svg class="swatch" aria-hidden="true"><g class="{style(index)}"><line x1="0" x2="34" y1="9" y2="9"/></g>'
        f'<g class="badge {style(index)}"><circle cx="17" cy="9" r="8"/>'
        f'<text x="17" y="13" text-anchor="middle">{letter(index)}</text></g></svg>'
    )


def _attackers(evidence: RehearsalEvidence, facts: ReportFacts) -> str:
    if not attackers(evidence):
        return '<section><h2>What attackers pay</h2><p class="soft">No attacker was simulated.</p></section>'
    points = milestones(evidence)
    header = "".join(f'<th scope="col">{each:,} queries</th>' for each in points)
    rows = "".join(_attacker(evidence, facts, index, each) for index, each in enumerate(attackers(evidence)))
    return f"""<section><h2>What attackers pay</h2>
<p class="soft">Multiples of the floor, mean over the queries so far, of the median attacker; below them the time the \
reference client works for it. Less than {exactly(AIM)} is marked !, the cap is {exactly(facts.cap)}.</p>
<div class="scroll"><table class="payments"><thead><tr><th scope="col">attacker</th>{header}</tr></thead>
<tbody>{rows}</tbody></table></div></section>"""


def _attacker(evidence: RehearsalEvidence, facts: ReportFacts, index: int, profile: SimulatedProfile) -> str:
    cells = []
    for point in milestones(evidence):
        paid = multiple(evidence, profile, point)
        seconds = work_at(evidence, profile, point) * facts.floor_seconds
        text = f"{times(paid)}{' !' if paid < AIM else ''}<small>{duration(seconds)}</small>"
        cells.append(f'<td class="{"short" if paid < AIM else "enough"}">{text}</td>')
    return (
        f'<tr data-attacker="{escape(profile.name)}"><td>{letter(index)} · {escape(profile.name)}'
        f"<small>{profile.samples:,} samples</small></td>{''.join(cells)}</tr>"
    )


def _overhead(evidence: RehearsalEvidence) -> str:
    return f"""<figure><h2>What honest users pay, kind by kind</h2>
<figcaption>Time of a query with proof of work over its time without, mean over {evidence.horizon:,} queries. \
Line: 1st to 99th percentile of the users; box: the middle half; bar: the median; dot and number: the 99th percentile. \
Dashed: the budget of {exactly(evidence.overhead_budget)}.</figcaption>
{overhead_rows(evidence)}</figure>"""


def _accuracy(evidence: RehearsalEvidence) -> str:
    return f"""<figure><h2>Does the ensemble know its trade?</h2>
<figcaption>Accuracy on legitimate samples that no teacher was trained on. Teachers who err vote apart on honest \
queries too.</figcaption>
{accuracy_bars(evidence)}</figure>"""


def _metrics(evidence: RehearsalEvidence) -> str:
    names = metric_names(evidence)
    if not names:
        return ""
    header = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    rows = "".join(_separation(names, index, each) for index, each in enumerate(attackers(evidence)))
    return f"""<section><h2>How well each metric tells them apart</h2>
<p class="soft">AUROC of a single query against legitimate ones of its class: 1 always, 0.5 not at all. Bold: the best \
of a row.</p>
<div class="scroll"><table><thead><tr><th scope="col">attacker</th>{header}</tr></thead>
<tbody>{rows}</tbody></table></div></section>"""


def _separation(names: tuple[str, ...], index: int, profile: SimulatedProfile) -> str:
    best = max(profile.auroc.values(), default=0.0)
    cells = []
    for name in names:
        value = profile.auroc.get(name)
        if value is None:
            cells.append("<td>–</td>")
            continue
        width = min(max(2 * value - 1, 0.0), 1.0)
        kind = "best" if value == best and len(names) > 1 else "auroc"
        cells.append(f'<td class="{kind}">{value:.2f}<span class="meter"><i style="width:{width:.0%}"></i></span></td>')
    return f"<tr><td>{letter(index)} · {escape(profile.name)}</td>{''.join(cells)}</tr>"


def _details(evidence: RehearsalEvidence, facts: ReportFacts) -> str:
    members = {
        "victim (SHA-256)": facts.victim_sha256,
        **{f"{name} (SHA-256)": sha256 for name, sha256 in facts.parts.items()},
        "policy": facts.policy,
        "metrics": "; ".join(facts.metrics),
        "floor": f"{duration(facts.floor_seconds)} a sample",
        "cap": f"{exactly(facts.cap)} the floor",
        "unprotected latency": f"{duration(facts.latency_seconds)} a sample",
        "reference client": f"{facts.hashes_per_second:,.0f} hashes a second",
        "dearest honest users": dearest(evidence).name,
        "samples of honest users": ", ".join(f"{each.name}: {each.samples:,}" for each in honest(evidence)),
        **{key.replace("_", " "): _value(value) for key, value in facts.provenance.items()},
    }
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in members.items()
    )
    return f'<section class="origin"><h2>Details</h2><table><tbody>{rows}</tbody></table></section>'


def _value(value: str | int | float) -> str:
    return value if isinstance(value, str) else f"{value:,.6g}" if isinstance(value, float) else f"{value:,}"
