"""The report's page: it says what a calibration means, loads nothing, and a real browser shows it without an error."""

import dataclasses
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calpow.archiver.calibration.calibration_document import Band, RehearsalEvidence, SimulatedProfile
from calpow.archiver.errors import ReportError
from calpow.archiver.report.facts import ReportFacts
from calpow.archiver.report.page import render
from calpow.archiver.report.verdicts import attackers, honest, verdicts
from tests.support.browser import CHROMIUM, measure, open_page
from tests.support.calibrations import calibration
from tests.support.evidence import simulated_evidence

FACTS = ReportFacts.of(calibration(provenance={"made": "2026-01-15T12:00:00+00:00", "seed": 0, "mean_cost": 1.75}))

HOSTILE = '<script>alert(\'1\')</script>" onload="x"&\x00\ud800\u202e'


@pytest.fixture(scope="module")
def evidence() -> RehearsalEvidence:
    return simulated_evidence(("class coat has few samples",))


def with_profiles(evidence: RehearsalEvidence, *profiles: SimulatedProfile) -> RehearsalEvidence:
    return dataclasses.replace(evidence, profiles=profiles)


def renamed(evidence: RehearsalEvidence, name: str) -> RehearsalEvidence:
    """Every profile and metric, and whatever else has a name, named like this."""
    profiles = [dataclasses.replace(profile, name=name, auroc={name: 0.9}) for profile in evidence.profiles]
    return dataclasses.replace(evidence, profiles=tuple(profiles), score_name=name, warnings=(name,))


class Elements(HTMLParser):
    """The elements of a document with their attributes."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def values(self, attribute: str) -> Counter[str]:
        return Counter(str(attrs[attribute]) for _, attrs in self.tags if attribute in attrs)


def names(profiles: tuple[SimulatedProfile, ...]) -> list[str]:
    return [profile.name for profile in profiles]


def test_every_profile_is_a_line_in_both_charts(evidence: RehearsalEvidence) -> None:
    elements = Elements(render(evidence, FACTS))
    assert elements.values("data-series") == dict.fromkeys(names(evidence.profiles), 2)
    assert elements.values("data-overhead") == dict.fromkeys(names(honest(evidence)), 1)
    assert elements.values("data-attacker") == dict.fromkeys(names(attackers(evidence)), 1)


def test_the_page_loads_nothing(evidence: RehearsalEvidence) -> None:
    document = render(evidence, FACTS)
    assert "default-src 'none'" in document
    assert not re.search(r"https?:|@import|url\(|\bsrc=", document)
    assert Elements(document).values("href") == {"data:,": 1}


def test_a_budget_that_is_kept_or_broken_changes_the_verdict(evidence: RehearsalEvidence) -> None:
    worst = max(profile.overhead[99] for profile in honest(evidence))
    for budget, good in ((worst + 0.01, True), (worst - 0.01, False)):
        changed = dataclasses.replace(evidence, overhead_budget=budget)
        assert verdicts(changed)[0].good is good
        assert ('class="row over"' in render(changed, FACTS)) is not good


def test_warnings_and_provenance_are_shown(evidence: RehearsalEvidence) -> None:
    document = render(evidence, FACTS)
    assert "<li>class coat has few samples</li>" in document
    assert "gave no warnings" in render(dataclasses.replace(evidence, warnings=()), FACTS)
    for text in (
        "mean cost",
        "1.75",
        "made on 2026-01-15",
        "pate: sigma 2, delta 1e-05, teachers 50",
        "79.7%",
        "85.5%",
        FACTS.victim_sha256,
    ):
        assert text in document


def test_names_from_folders_are_text_and_nothing_else(evidence: RehearsalEvidence) -> None:
    facts = dataclasses.replace(FACTS, provenance={"made": HOSTILE, HOSTILE: HOSTILE}, metrics=(HOSTILE,))
    document = render(renamed(evidence, HOSTILE), facts)
    document.encode()
    elements = Elements(document)
    assert not {"script", "img", "iframe"} & {tag for tag, _ in elements.tags}
    assert not elements.values("onload")
    assert list(elements.values("data-series").values()) == [2 * len(evidence.profiles)]
    assert "\x00" not in document
    assert "\u202e" not in document


def test_a_calibration_of_few_checkpoints_and_no_attacker_is_shown(evidence: RehearsalEvidence) -> None:
    small = calibration().rehearsal
    assert 'data-attacker="noise"' in render(small, FACTS)
    alone = with_profiles(small, *honest(small))
    assert "No attacker was simulated" in render(alone, FACTS)
    assert len(verdicts(alone)) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"profiles": ()}, "holds no evidence"),
        ({"checkpoints": ()}, "holds no evidence"),
        ({"checkpoints": (1, 2, 3)}, "profile uniform lacks values"),
        ({"checkpoints": (10, 1)}, "do not rise"),
        ({"checkpoints": (0, 1)}, "do not rise"),
    ],
)
def test_evidence_that_cannot_be_shown_is_refused(changes: dict[str, object], message: str) -> None:
    small = calibration().rehearsal
    with pytest.raises(ReportError, match=f"{message}.*calpow calibrate"):
        render(dataclasses.replace(small, **changes), FACTS)  # type: ignore[arg-type]  # the table's own mapping


def test_an_attacker_or_a_user_who_takes_no_time_is_refused(evidence: RehearsalEvidence) -> None:
    first = evidence.profiles[0]
    free = (
        dataclasses.replace(first, overhead=(0.0, *first.overhead[1:])),
        dataclasses.replace(first, work=dataclasses.replace(first.work, low=(0.0, *first.work.low[1:]))),
    )
    for profile in free:
        with pytest.raises(ReportError, match="profile uniform takes no time"):
            render(with_profiles(evidence, profile), FACTS)


POSITIVE = st.floats(1e-9, 1e12)

COLUMN = st.tuples(POSITIVE, POSITIVE)


@given(
    scores=st.tuples(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12)),
    low=COLUMN,
    middle=COLUMN,
    high=COLUMN,
    overhead=st.tuples(POSITIVE, POSITIVE),
    budget=st.floats(1.0, 100.0),
    floor=st.floats(1e-9, 1e3),
    second=st.integers(2, 10**9),
)
def test_whatever_was_measured_can_be_drawn(
    scores: tuple[float, float],
    low: tuple[float, float],
    middle: tuple[float, float],
    high: tuple[float, float],
    overhead: tuple[float, float],
    budget: float,
    floor: float,
    second: int,
) -> None:
    profiles = [
        dataclasses.replace(
            profile,
            score=Band(scores, scores, scores),
            work=Band(*(tuple(map(pick, low, middle, high)) for pick in (min, _median, max))),
            overhead=tuple(sorted(overhead[index % 2] for index in range(101))),
        )
        for profile in calibration().rehearsal.profiles
    ]
    drawn = dataclasses.replace(
        calibration().rehearsal, profiles=tuple(profiles), overhead_budget=budget, checkpoints=(1, second)
    )
    document = render(drawn, dataclasses.replace(FACTS, floor_seconds=floor))
    attributes = Elements(document).values
    numbers = [*attributes("points"), *attributes("x1"), *attributes("y1"), *attributes("cx"), *attributes("width")]
    assert not [text for text in numbers if re.search(r"nan|inf|e[+-]", text)]
    assert not re.search(r">-?(nan|inf)\b", document)


def _median(*values: float) -> float:
    return sorted(values)[1]


@pytest.fixture(scope="module")
def page(evidence: RehearsalEvidence, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(evidence, FACTS), encoding="utf-8")
    return path


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_shows_every_profile_and_has_nothing_to_complain_of(
    page: Path, evidence: RehearsalEvidence, tmp_path: Path
) -> None:
    opened = open_page(page, tmp_path)
    assert opened.console == ()
    elements = Elements(opened.document)
    assert elements.values("data-series") == dict.fromkeys(names(evidence.profiles), 2)
    assert elements.values("data-overhead") == dict.fromkeys(names(honest(evidence)), 1)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize(
    ("mend", "broken"),
    [('points="0.0,', 'points="nan,'), ("<main>", '<main><img src="https://example.org/x.png">')],
)
def test_a_browser_complains_of_a_page_that_is_broken(page: Path, tmp_path: Path, mend: str, broken: str) -> None:
    text = page.read_text(encoding="utf-8")
    assert mend in text
    other = tmp_path / "broken.html"
    other.write_text(text.replace(mend, broken), encoding="utf-8")
    assert open_page(other, tmp_path / "profile").console


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [360, 1400])
def test_charts_and_text_fit_phones_and_wide_screens(
    page: Path, evidence: RehearsalEvidence, tmp_path: Path, width: int
) -> None:
    seen = measure(
        page,
        """{
          inner: innerWidth,
          page: document.documentElement.scrollWidth,
          lines: [...document.querySelectorAll('[data-series]')].map(each => each.getBoundingClientRect().width),
          right: Math.max(...[...document.querySelectorAll('svg text, p, li, td, .value')]
            .map(each => each.getBoundingClientRect().right)),
          small: Math.min(...[...document.querySelectorAll('svg text')]
            .map(each => parseFloat(getComputedStyle(each).fontSize))),
        }""",
        tmp_path,
        width,
    )
    assert seen["inner"] == width
    assert seen["page"] <= width
    assert seen["right"] <= width
    assert len(seen["lines"]) == 2 * len(evidence.profiles)
    assert min(seen["lines"]) > 0.5 * min(width, 600) - 20
    assert seen["small"] >= 11
