"""`calpow report`: one page that says what a calibration means, and that a real browser shows without an error."""

import dataclasses
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calpow.archiver.cli.report import facts_of
from calpow.archiver.report.page import render
from calpow.archiver.report.svg import Scale, decades, escape, linear, steps
from calpow.archiver.report.verdicts import ReportError, attackers, duration, honest, multiple, times, verdicts, work_at
from calpow.client.cli.main import main
from calpow.handler.policy.rehearsal_evidence import Band, Evidence, Profile
from tests.support.browser import CHROMIUM, measure, open_page
from tests.support.evidence import simulated_evidence
from tests.support.parts import calibration

FACTS = facts_of(calibration(provenance={"made": "2026-01-15T12:00:00+00:00", "seed": 0, "mean_cost": 1.75}))
HOSTILE = '<script>alert(\'1\')</script>" onload="x"&\x00\ud800\u202e'
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return simulated_evidence(("class coat has few samples",))


def with_profiles(evidence: Evidence, *profiles: Profile) -> Evidence:
    return dataclasses.replace(evidence, profiles=profiles)


def renamed(evidence: Evidence, name: str) -> Evidence:
    """Every profile and metric, and whatever else has a name, named like this."""
    profiles = [dataclasses.replace(each, name=name, auroc={name: 0.9}) for each in evidence.profiles]
    return dataclasses.replace(evidence, profiles=tuple(profiles), score_name=name, warnings=(name,))


class Elements(HTMLParser):
    """Every element of a document with its attributes."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def values(self, attribute: str) -> Counter[str]:
        return Counter(str(attrs[attribute]) for _, attrs in self.found if attribute in attrs)


def names(profiles: tuple[Profile, ...]) -> list[str]:
    return [profile.name for profile in profiles]


def test_every_profile_is_a_line_in_both_charts(evidence: Evidence) -> None:
    elements = Elements(render(evidence, FACTS))
    assert elements.values("data-series") == dict.fromkeys(names(evidence.profiles), 2)
    assert elements.values("data-overhead") == dict.fromkeys(names(honest(evidence)), 1)
    assert elements.values("data-attacker") == dict.fromkeys(names(attackers(evidence)), 1)


def test_the_page_loads_nothing(evidence: Evidence) -> None:
    document = render(evidence, FACTS)
    assert "default-src 'none'" in document
    assert not re.search(r"https?:|@import|url\(|\bsrc=", document)
    assert Elements(document).values("href") == {"data:,": 1}


def test_the_verdicts_say_who_pays_what(evidence: Evidence) -> None:
    users, thousand, ten_thousand = verdicts(evidence)
    worst = max(each.overhead[99] for each in honest(evidence))
    assert users.figure == f"at most {times(worst)}"
    assert users.good == (worst <= 2.0)
    for verdict, queries in ((thousand, 1_000), (ten_thousand, 10_000)):
        paid = {each.name: multiple(evidence, each, queries) for each in attackers(evidence)}
        assert verdict.figure == f"at least {times(min(paid.values()))}"
        assert f"{sum(value >= 100 for value in paid.values())} of 6 attackers" in verdict.sentence
        assert not verdict.good
        assert "“perturbed”" in verdict.sentence


def test_a_budget_that_is_kept_or_broken_changes_the_verdict(evidence: Evidence) -> None:
    worst = max(each.overhead[99] for each in honest(evidence))
    for budget, good in ((worst + 0.01, True), (worst - 0.01, False)):
        changed = dataclasses.replace(evidence, overhead_budget=budget)
        assert verdicts(changed)[0].good is good
        assert ('class="row over"' in render(changed, FACTS)) is not good


def test_attackers_who_all_pay_enough_are_as_they_should_be(evidence: Evidence) -> None:
    strong = [each for each in attackers(evidence) if each.name in ("noise", "blobs")]
    _, *attacks = verdicts(with_profiles(evidence, *honest(evidence), *strong))
    assert [(each.good, each.sentence) for each in attacks] == [
        (True, "2 of 2 attackers pay 100× the floor or more.")
    ] * 2


def test_work_between_checkpoints_lies_on_the_line_through_them(evidence: Evidence) -> None:
    profile = evidence.profiles[-1]
    middle = (1.0, 1_000.0)
    work = dataclasses.replace(profile.work, low=middle, middle=middle, high=middle)
    two = dataclasses.replace(evidence, checkpoints=(1, 1_000_000))
    changed = dataclasses.replace(profile, work=work)
    assert work_at(two, changed, 10_000) == pytest.approx(100.0)
    assert [work_at(two, changed, each) for each in (1, 1_000_000)] == [1.0, 1_000.0]


def test_warnings_and_provenance_are_shown(evidence: Evidence) -> None:
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


def test_names_from_folders_are_text_and_nothing_else(evidence: Evidence) -> None:
    facts = dataclasses.replace(FACTS, provenance={"made": HOSTILE, HOSTILE: HOSTILE}, metrics=(HOSTILE,))
    document = render(renamed(evidence, HOSTILE), facts)
    document.encode()
    elements = Elements(document)
    assert not {"script", "img", "iframe"} & {tag for tag, _ in elements.found}
    assert not elements.values("onload")
    assert list(elements.values("data-series").values()) == [2 * len(evidence.profiles)]
    assert "\x00" not in document
    assert "\u202e" not in document


def test_a_calibration_of_few_checkpoints_and_no_attacker_is_shown(evidence: Evidence) -> None:
    small = calibration().evidence
    assert 'data-attacker="noise"' in render(small, FACTS)
    alone = with_profiles(small, *honest(small))
    assert "No attacker was simulated" in render(alone, FACTS)
    assert len(verdicts(alone)) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"profiles": ()}, "holds no evidence"),
        ({"checkpoints": ()}, "holds no evidence"),
        ({"checkpoints": (1, 2, 3)}, "profile uniform lacks values"),
        ({"checkpoints": (10, 1)}, "do not rise"),
        ({"checkpoints": (0, 1)}, "do not rise"),
    ],
)
def test_evidence_that_cannot_be_shown_is_refused(changes: dict[str, object], said: str) -> None:
    small = calibration().evidence
    with pytest.raises(ReportError, match=f"{said}.*calpow calibrate"):
        render(dataclasses.replace(small, **changes), FACTS)  # type: ignore[arg-type]  # the table's own mapping


def test_an_attacker_or_a_user_who_takes_no_time_is_refused(evidence: Evidence) -> None:
    first = evidence.profiles[0]
    free = (
        dataclasses.replace(first, overhead=(0.0, *first.overhead[1:])),
        dataclasses.replace(first, work=dataclasses.replace(first.work, low=(0.0, *first.work.low[1:]))),
    )
    for each in free:
        with pytest.raises(ReportError, match="profile uniform takes no time"):
            render(with_profiles(evidence, each), FACTS)


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
            each,
            score=Band(scores, scores, scores),
            work=Band(*(tuple(map(pick, low, middle, high)) for pick in (min, _median, max))),
            overhead=tuple(sorted(overhead[index % 2] for index in range(101))),
        )
        for each in calibration().evidence.profiles
    ]
    drawn = dataclasses.replace(
        calibration().evidence, profiles=tuple(profiles), overhead_budget=budget, checkpoints=(1, second)
    )
    document = render(drawn, dataclasses.replace(FACTS, floor_seconds=floor))
    attributes = Elements(document).values
    numbers = [*attributes("points"), *attributes("x1"), *attributes("y1"), *attributes("cx"), *attributes("width")]
    assert not [text for text in numbers if re.search(r"nan|inf|e[+-]", text)]
    assert not re.search(r">-?(nan|inf)\b", document)


def _median(*values: float) -> float:
    return sorted(values)[1]


@given(low=st.floats(-1e6, 1e6), width=st.floats(1e-3, 1e6), most=st.integers(1, 9))
def test_ticks_are_few_even_and_within_the_axis(low: float, width: float, most: int) -> None:
    marks = steps(low, low + width, most)
    assert len(marks) <= most + 1
    assert all(low - 1e-6 * width <= mark <= low + width * (1 + 1e-6) for mark in marks)


def test_powers_of_ten_are_thinned() -> None:
    assert decades(1, 10_000, 7) == [1, 10, 100, 1_000, 10_000]
    assert decades(1, 1e7, 4) == [1, 100, 10_000, 1_000_000]


@given(value=st.floats(allow_nan=False))
def test_nothing_is_drawn_outside_the_chart(value: float) -> None:
    assert 0.0 <= Scale(-1.0, 3.0, linear)(value) <= 1.0


@given(st.text())
def test_escaped_text_has_no_mark_up_and_can_be_written(text: str) -> None:
    assert not set("<>\"'\n\x00") & set(escape(text))
    escape(text).encode()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0004, "0.4 ms"), (0.1, "100 ms"), (1, "1 s"), (90, "1.5 min"), (86_400, "1 day"), (1e9, "32 years")],
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_the_command_writes_the_page(
    evidence: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    made = calibration(evidence=evidence)
    made.save(Path("calibration.json"))
    # The help's own example.
    assert main(["report", "calibration.json", "-o", "report.html"]) == 0
    assert capsys.readouterr().out == "report.html: open it in a browser\n"
    assert Path("report.html").read_text(encoding="utf-8") == render(evidence, facts_of(made))


def test_the_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["report", "--help"])
    assert "\n  calpow report calibration.json -o report.html\n" in capsys.readouterr().out


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "calibration.json"

    def refused(output: str = "report.html") -> str:
        assert main(["report", str(path), "-o", str(tmp_path / output)]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        return err

    assert "does not exist" in refused()
    calibration().save(path)
    assert "nowhere/report.html cannot be written (No such file or directory)" in refused("nowhere/report.html")
    document = json.loads(path.read_text())
    document["evidence"]["profiles"] = []
    path.write_text(json.dumps(document))
    assert "holds no evidence" in refused()
    del document["evidence"]
    path.write_text(json.dumps(document))
    assert "evidence is missing" in refused()
    assert not (tmp_path / "report.html").exists()


@pytest.fixture(scope="module")
def page(evidence: Evidence, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(evidence, FACTS), encoding="utf-8")
    return path


@in_browser
def test_a_browser_shows_every_profile_and_has_nothing_to_complain_of(
    page: Path, evidence: Evidence, tmp_path: Path
) -> None:
    opened = open_page(page, tmp_path)
    assert opened.console == ()
    elements = Elements(opened.document)
    assert elements.values("data-series") == dict.fromkeys(names(evidence.profiles), 2)
    assert elements.values("data-overhead") == dict.fromkeys(names(honest(evidence)), 1)


@in_browser
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


@in_browser
@pytest.mark.parametrize("width", [360, 1400])
def test_charts_and_text_fit_phones_and_wide_screens(
    page: Path, evidence: Evidence, tmp_path: Path, width: int
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
