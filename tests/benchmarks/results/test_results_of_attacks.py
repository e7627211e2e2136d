"""Our attacks in the paper's tables and figures: means of the files, the paper's beside them, and what is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.attacks.thefts.score_files import SCORES, ScoreCosts, ScorePoint, write_score_costs
from benchmarks.attacks.thefts.stolen_copies import DomainTheft, StolenCopy
from benchmarks.attacks.thefts.theft_files import write_theft
from benchmarks.results.attack_points import HEADER, measured_attacks
from benchmarks.results.exhibit import DataAbsent, Findings, Setting
from benchmarks.results.own_tables import table_2, table_3
from benchmarks.results.paper_figures import FIGURES

ROOT = Path(__file__).resolve().parents[3]
FIGURE = {figure.name: figure for figure in FIGURES}


def copy(attack: str, answers: int, accuracy: float) -> StolenCopy:
    """Return a copy whose answers cost 500 floors under our policy, 50 under the paper's, and half of privacy each."""
    return StolenCopy(attack, answers, accuracy, accuracy, {"evidence": 500.0, "paper": 50.0}, answers / 2, None, 1.0)


def theft(domain: str, seed: int, accuracy: float) -> DomainTheft:
    """Return a division with two copies of CopyCat, and one of Standard."""
    copies = (copy("standard", 100, 0.9), copy("copycat", 100, accuracy), copy("copycat", 200, accuracy + 0.1))
    honest = {policy: {100: 1.0, 200: 1.0} for policy in ("evidence", "paper")}
    return DomainTheft(domain, seed, "abc", 1.0, 447, 0.0, honest, copies)


def costs(domain: str) -> ScoreCosts:
    """Return the costs of CopyCat at two points, one privacy and 0.25 of each other score an answer."""
    points = [
        ScorePoint(
            "copycat",
            answers,
            {score: answers * (1.0 if score == "pate" else 0.25) for score in SCORES},
            dict.fromkeys(SCORES, 7.0),
        )
        for answers in (50, 100)
    ]
    return ScoreCosts(domain, 4, "abc", dict.fromkeys(SCORES, 1.0075), tuple(points))


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    """Two divisions of the digits, one of MNIST, none of the others; costs of the digits only."""
    for measured in (theft("digits", 4, 0.5), theft("digits", 5, 0.7), theft("mnist", 4, 0.6)):
        write_theft(measured, tmp_path)
    write_score_costs(costs("digits"), tmp_path)
    return Setting(traces=None, quick=True, attacks=tmp_path)


def cells(findings: Findings, *first: str) -> list[str]:
    """Return the row of a table that begins so."""
    (line,) = [line for line in findings.text if line.startswith(f"| {' | '.join(first)} |")]
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_points_are_means_over_divisions_with_the_least_and_the_most(setting: Setting) -> None:
    first, _ = measured_attacks(setting.attacks, "digits").copies("copycat")
    assert (first.answers, first.divisions) == (100, 2)
    numbers = first.numbers
    assert [numbers[name] for name in ("accuracy", "least", "most")] == pytest.approx([60, 50, 70])
    assert (numbers["seconds"], numbers["seconds_paper"], numbers["seconds_evidence"]) == (0.1, 5.0, 50.0)


def test_costs_along_the_queries_stand_for_those_of_the_copies(setting: Setting) -> None:
    along = measured_attacks(setting.attacks, "digits").along("copycat")
    assert [(point.answers, point.numbers["privacy"], point.numbers["gap"]) for point in along] == [
        (50, 50, 12.5),
        (100, 100, 25),
    ]
    assert [point.answers for point in measured_attacks(setting.attacks, "mnist").along("copycat")] == [100, 200]


def test_table_2_has_the_papers_figures_beside_ours(setting: Setting) -> None:
    findings = table_2(setting)
    ours = cells(findings, "mnist", "CopyCat CNN")
    assert ours[3:] == ["200", "0.5", "0.53", "500", "50.0", "289", "70.0", "92.7", "70.0", "92.9"]
    assert cells(findings, "digits", "CopyCat CNN")[9] == "70.0"
    assert [line.split(" are")[0] for line in findings.absent] == ["No attacks on fashion", "No attacks on cifar10"]


def test_table_3_has_the_mean_costs_of_an_answer(setting: Setting) -> None:
    findings = table_3(setting)
    assert cells(findings, "digits", "CopyCat CNN", "strangers")[3:] == ["100", "1", *["0.25"] * 3, *["7.00"] * 4]
    assert cells(findings, "mnist", "Jacobian", "10,000")[3:] == ["0.00419", "0.00462", "0.000346", "1.21"]
    assert len(findings.absent) == 3


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_a_figure_shows_every_measured_domain_and_names_the_others(setting: Setting, figure: object) -> None:
    from matplotlib.figure import Figure

    drawn = FIGURE[getattr(figure, "name", "")]
    there = [domain for domain in drawn.domains if domain in ("digits", "mnist")]
    if not there:
        with pytest.raises(DataAbsent, match=f"No attacks on {drawn.domains[0]} are measured yet"):
            drawn.findings(setting)
        return
    findings = drawn.findings(setting)
    assert all(
        any(f"No attacks on {domain}" in line for line in findings.absent) for domain in set(drawn.domains) - set(there)
    )
    assert {str(row[0]) for row in findings.rows} == set(there)
    assert all(len(row) == len(HEADER) for row in findings.rows)
    canvas = Figure()
    assert findings.draw is not None
    findings.draw(canvas)
    assert len(canvas.axes) == len(there) * len(drawn.panels)
    assert all(axes.lines for axes in canvas.axes if axes.get_ylabel().startswith("accuracy"))
    # MNIST has no costs along its queries.
    assert all(bool(axes.lines) != ("not measured" in [text.get_text() for text in axes.texts]) for axes in canvas.axes)


def test_figures_are_made_where_files_are_and_the_command_says_what_is_missing(
    setting: Setting, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "benchmarks.results", "--quick", "--only", "figure-3-ours", "figure-20"]
    done = subprocess.run(
        [*command, "--attacks", str(setting.attacks), "--output", str(tmp_path / "pages")],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert (
        "missing in figure-3-ours: No attacks on cifar10 are measured yet: `python -m benchmarks.attacks" in done.stderr
    )
    assert "missing in figure-20: No attacks on fashion" in done.stderr
    page = (tmp_path / "pages" / "figure-3-ours.md").read_text()
    assert "No attacks on cifar10 are measured yet" in page
    assert "Without data yet: " in (tmp_path / "pages" / "README.md").read_text()
