"""The report's page: it says what a calibration means, loads nothing, and a real browser shows it without an error."""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calpow.archiver.calibration.calibration_document import Band, Calibration, SimulatedProfile, Sources, ThiefFigures
from calpow.archiver.errors import ReportError
from calpow.archiver.report.page import MOST_KINDS, render, write_report
from calpow.archiver.report.verdicts import verdict
from calpow.handler.policy.calibrated_policy import PolicyName
from calpow.handler.policy.solver_fit import SolverFit
from tests.support.browser import CHROMIUM, open_page
from tests.support.calibrations import calibration
from tests.support.devtools import Browser, run_browser
from tests.support.evidence import simulated_evidence

FILE = Path("demo/calibration.json")
FACTS: dict[str, str | int | float] = {"made": "2026-01-15T12:00:00+00:00", "seed": 0, "mean_cost": 1.75}
HOSTILE = '<script>alert(\'1\')</script>" onload="x"&\x00\ud800\u202e{{ 7 * 7 }}'


@pytest.fixture(scope="module")
def simulated() -> Calibration:
    return calibration(rehearsal=simulated_evidence(("Class coat has few samples.",)), provenance=FACTS)


def changed(simulated: Calibration, **changes: object) -> Calibration:
    """Return the calibration with other members of its rehearsal."""
    evidence = dataclasses.replace(simulated.rehearsal, **changes)  # type: ignore[arg-type]  # the tests' own mapping
    return dataclasses.replace(simulated, rehearsal=evidence)


def renamed(simulated: Calibration, name: str) -> Calibration:
    """Return the calibration with this name for every profile and score, and whatever else has a name."""
    profiles = [
        dataclasses.replace(profile, name=name, kind=name if profile.kind else "", auroc={name: 0.9})
        for profile in simulated.rehearsal.profiles
    ]
    measured = dataclasses.replace(
        simulated.measurement, sources=Sources(name, name, name, name), provenance={"made": name, name: name}
    )
    named = changed(
        simulated,
        profiles=tuple(profiles),
        score_name=name,
        warnings=(name,),
        tolerated=(name,),
        intolerant={name: 2.0},
    )
    return dataclasses.replace(named, measurement=measured)


def text_of(document: str) -> str:
    """Return the words of a document, without its style and its elements."""
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", document, flags=re.DOTALL).split())


class Elements(HTMLParser):
    """The elements of a document with their attributes."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def classes(self, tag: str) -> Counter[str]:
        named = (str(attrs.get("class", "")).split() for name, attrs in self.tags if name == tag)
        return Counter(name for classes in named for name in classes)

    def values(self, attribute: str) -> Counter[str]:
        return Counter(str(attrs[attribute]) for _, attrs in self.tags if attribute in attrs)


def names(profiles: tuple[SimulatedProfile, ...]) -> list[str]:
    return [profile.name for profile in profiles]


def test_the_verdict_comes_first_then_the_names_the_unit_and_the_next_command(simulated: Calibration) -> None:
    outcome = verdict(simulated)
    text = text_of(render(simulated, FILE).split("<body>")[1])
    places = [
        text.index(words)
        for words in (
            f"{outcome.headline}.",
            "victim.mar",
            "heldout",
            "a floor is the least puzzle (1 ms). 1× is the time that an answer takes without protection (2 ms)",
            outcome.reasons[0],
            "Class coat has few samples.",
            "calpow archive --victim victim.mar --ensemble teachers.pt --calibration demo/calibration.json",
            "Who pays what for an answer",
        )
    ]
    assert places == sorted(places)
    assert text.count("1× is the time") == 1


def test_prices_are_in_floors_and_never_in_seconds(simulated: Calibration) -> None:
    text = text_of(render(simulated, FILE)).split("Details")[0]
    assert not re.search(r"\d (s|min|h|days?|years?)\b", text)


def test_every_profile_is_shown_wherever_it_belongs(simulated: Calibration) -> None:
    evidence = simulated.rehearsal
    elements = Elements(render(simulated, FILE))
    assert elements.values("data-series") == dict.fromkeys(names(evidence.profiles), 2)
    assert elements.values("data-overhead") == dict.fromkeys(names(evidence.honest), 1)
    assert elements.values("data-attacker") == dict.fromkeys(names(evidence.attackers), 1)
    assert elements.values("data-payment") == dict.fromkeys(
        ["honest users", "honest users, tolerated changes", *names(evidence.attackers)], 1
    )


def test_many_kinds_of_honest_users_are_folded_away(simulated: Calibration) -> None:
    first, *_ = simulated.rehearsal.honest
    kinds = tuple(dataclasses.replace(first, name=f"class {index}") for index in range(1_000))
    document = render(changed(simulated, profiles=(*kinds, *simulated.rehearsal.attackers)), FILE)
    assert f"The other {1_000 - MOST_KINDS} kinds" in document
    assert len(Elements(document).values("data-overhead")) == 1_000
    few = (*simulated.rehearsal.honest[:MOST_KINDS], *simulated.rehearsal.attackers)
    assert "<details>" not in render(changed(simulated, profiles=few), FILE)


def test_the_page_loads_nothing(simulated: Calibration) -> None:
    document = render(simulated, FILE)
    assert "default-src 'none'" in document
    assert not re.search(r"https?:|@import|url\(|\bsrc=", document)
    assert Elements(document).values("href") == {"data:,": 1}


def test_kinds_over_the_budget_are_marked(simulated: Calibration) -> None:
    most = max(profile.overhead[99] for profile in simulated.rehearsal.honest if not profile.kind)
    assert 'class="row over"' in render(changed(simulated, overhead_budget=most - 0.01), FILE)
    assert 'class="row over"' not in render(changed(simulated, overhead_budget=most + 0.01), FILE)


def test_the_worst_theft_is_read_in_floors_with_unprotected_answers_beside(simulated: Calibration) -> None:
    text = text_of(render(simulated, FILE))
    # 24.6 floors of half an unprotected answer each, with 14 genuine answers in between.
    assert "C · strokes 500 samples yes 25 12.3× · 14 in between 19,400 9,700×" in text


def test_a_theft_below_the_aim_is_marked_for_attackers_with_data_of_their_own(simulated: Calibration) -> None:
    assert "short" not in Elements(render(simulated, FILE)).classes("td")
    thieves = tuple(dataclasses.replace(attacker, own_data=True) for attacker in simulated.rehearsal.attackers)
    marked = render(changed(simulated, profiles=(*simulated.rehearsal.honest, *thieves)), FILE)
    assert Elements(marked).classes("td")["short"] == 3


def test_what_users_and_thieves_pay_is_shown_with_tolerance_and_without(simulated: Calibration) -> None:
    text = text_of(render(simulated, FILE))
    assert "What honest users pay, and what tolerance costs" in text
    assert re.search(r"noise 1\.\d 1\.\d+× 260 131×", text)
    assert "A · noise 62 31.2× 87 43.7×" in text
    alone = changed(
        simulated,
        profiles=tuple(profile for profile in simulated.rehearsal.profiles if not profile.kind),
        tolerated=(),
        intolerant={},
    )
    assert "tolerance costs" not in render(alone, FILE)
    assert "tolerating" not in render(alone, FILE)


def test_the_scores_that_are_bet_on_are_shown_with_their_levels(simulated: Calibration) -> None:
    text = text_of(render(simulated, FILE))
    assert "Chosen by what the reference attackers pay" in text
    assert "score odd if 30 % 5 % pate high 2 2" in text
    measured = dataclasses.replace(simulated.measurement, provenance={**FACTS, "scores": "pate"})
    assert "Given with --scores" in text_of(render(dataclasses.replace(simulated, measurement=measured), FILE))
    policy = dataclasses.replace(simulated.policy, name=PolicyName.paper)
    assert "The scores that are bet on" not in render(dataclasses.replace(simulated, policy=policy), FILE)


def test_thieves_whose_solver_runs_on_are_said_to_save_its_start(simulated: Calibration) -> None:
    assert "tight loop" not in render(simulated, FILE)
    slow = dataclasses.replace(simulated.policy, solver=SolverFit(0.0006, 1e6))
    text = text_of(render(dataclasses.replace(simulated, policy=slow), FILE))
    assert "solver that starts once and runs on, in a tight loop, takes 40% of the floor's time" in text
    assert "a theft in a tight loop" in text
    tiny = dataclasses.replace(simulated.policy, solver=SolverFit(0.001, 1e6))
    text = text_of(render(dataclasses.replace(simulated, policy=tiny), FILE))
    assert "takes less than 1% of the floor's time" in text


def test_provenance_is_shown(simulated: Calibration) -> None:
    document = render(simulated, FILE)
    for text in (
        "mean cost",
        "1.75",
        "2026-01-15",
        "pate: sigma 2, delta 1e-05, teachers 50",
        "79.7%",
        "85.5%",
        simulated.policy.victim_sha256,
    ):
        assert text in document


def test_a_calibration_without_teachers_shows_no_accuracy_of_theirs(simulated: Calibration) -> None:
    alone = dataclasses.replace(simulated.measurement, sources=Sources("victim.mar", "heldout"))
    assert "Does the ensemble" not in render(dataclasses.replace(simulated, measurement=alone), FILE)


def test_names_from_folders_are_text_and_nothing_else(simulated: Calibration) -> None:
    document = render(renamed(simulated, HOSTILE), FILE)
    document.encode()
    elements = Elements(document)
    assert not {"script", "img", "iframe"} & {tag for tag, _ in elements.tags}
    assert not elements.values("onload")
    assert list(elements.values("data-series").values()) == [2 * len(simulated.rehearsal.profiles)]
    assert "{{ 7 * 7 }}" in document
    assert not {"\x00", "\u202e"} & set(document)


def test_a_calibration_of_few_checkpoints_and_no_attacker_is_shown() -> None:
    small = calibration()
    assert 'data-attacker="noise"' in render(small, FILE)
    alone = changed(small, profiles=small.rehearsal.honest)
    assert "No attacker was simulated" in render(alone, FILE)


def test_evidence_that_cannot_be_shown_is_refused() -> None:
    with pytest.raises(ReportError, match=r"holds no evidence.*calpow calibrate"):
        render(changed(calibration(), profiles=()), FILE)


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="give another --output"):
        write_report(calibration(), FILE, tmp_path / "nowhere" / "report.html")


POSITIVE = st.floats(1e-9, 1e12)

COLUMN = st.tuples(POSITIVE, POSITIVE)


@given(
    scores=st.tuples(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12)),
    low=COLUMN,
    middle=COLUMN,
    high=COLUMN,
    overhead=st.tuples(POSITIVE, POSITIVE),
    price=POSITIVE,
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
    price: float,
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
            dearest=price,
            figures=profile.figures and ThiefFigures(*(price,) * 6, 3, price, price),
        )
        for profile in calibration().rehearsal.profiles
    ]
    drawn = calibration(floor_seconds=floor)
    document = render(changed(drawn, profiles=tuple(profiles), overhead_budget=budget, checkpoints=(1, second)), FILE)
    attributes = Elements(document).values
    numbers = [*attributes("points"), *attributes("x1"), *attributes("y1"), *attributes("cx"), *attributes("width")]
    assert not [text for text in numbers if re.search(r"nan|inf|e[+-]", text)]
    assert not re.search(r">-?(nan|inf)\b", document)


def _median(*values: float) -> float:
    return sorted(values)[1]


@pytest.fixture(scope="module")
def page(simulated: Calibration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(simulated, FILE, path)
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with run_browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_has_nothing_to_complain_of(page: Path, simulated: Calibration, tmp_path: Path) -> None:
    opened = open_page(page, tmp_path)
    assert opened.console == ()
    assert Elements(opened.document).values("data-series") == dict.fromkeys(names(simulated.rehearsal.profiles), 2)


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


READABLE = """
  const ratio = (one, other) => {
    const light = colour => {
      const parts = colour.match(/[\\d.]+/g).slice(0, 3)
        .map(part => part / 255).map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
      return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2] + 0.05
    }
    return Math.max(light(one), light(other)) / Math.min(light(one), light(other))
  }
  const box = element => element.getBoundingClientRect()
  const all = selector => [...document.querySelectorAll(selector)]
  const page = getComputedStyle(document.body).backgroundColor
  return {
    page: document.documentElement.scrollWidth,
    right: Math.max(...all('h1, h2, p, pre, li, td, .name, .value, svg text').map(element => box(element).right)),
    hidden: Math.max(...all('.scroll').map(element => element.scrollWidth - element.clientWidth)),
    lines: Math.min(...all('[data-series]').map(element => box(element).width)),
    small: Math.min(...all('svg text').map(element => parseFloat(getComputedStyle(element).fontSize))),
    contrast: Math.min(...all('h1, h2, p, pre, li, td, .name, .value')
      .map(element => ratio(getComputedStyle(element).color, page))),
  }
"""


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 390, 800, 1100, 1400])
def test_charts_and_text_fit_phones_and_wide_screens_and_are_readable_in_light_and_dark(
    browser: Browser, page: Path, width: int, dark: bool
) -> None:
    tab = browser.page(page.as_uri())
    tab.size(width, 900, dark=dark)
    seen = tab.run(READABLE)
    assert seen["page"] <= width
    assert seen["right"] <= width
    assert seen["hidden"] == 0
    assert seen["lines"] > 0.5 * min(width, 600) - 20
    assert seen["small"] >= 11
    # The least that WCAG asks for.
    assert seen["contrast"] >= 4.5
