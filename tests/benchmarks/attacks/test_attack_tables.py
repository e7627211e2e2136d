"""The figures of the attacks: files that hold them, the means over several divisions, and pages made of the files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.attacks.thefts.attack_kinds import ATTACK_KINDS, GENUINE, MOVED
from benchmarks.attacks.thefts.attack_pages import DOMAINS, FILES, PAGE, domain_page, with_tables
from benchmarks.attacks.thefts.attack_tables import spread, theft_tables
from benchmarks.attacks.thefts.solved_work import read_solved
from benchmarks.attacks.thefts.stolen_copies import DomainTheft, StolenCopy, missed_musts
from benchmarks.attacks.thefts.theft_files import read_theft, read_thefts, write_theft

MEASURED = sorted(path for domain in DOMAINS for path in FILES.glob(f"{domain}-*.csv"))


def copy(attack: str, answers: int, accuracy: float, floors: float, prada: int | None = None) -> StolenCopy:
    """Return a copy whose answers cost a tenth as much under the paper's policy."""
    return StolenCopy(attack, answers, accuracy, accuracy, {"evidence": floors, "paper": floors / 10}, 3.5, prada, 12.5)


def theft(seed: int, *copies: StolenCopy) -> DomainTheft:
    """Return a division in which the victim is always right, and honest users pay 1.5 floors, or 2."""
    answers = sorted({copy.answers for copy in copies})
    honest = {"evidence": dict.fromkeys(answers, 1.5), "paper": dict.fromkeys(answers, 2.0)}
    return DomainTheft("digits", seed, "abc", 1.0, 447, 0.05, honest, copies)


FIRST = theft(4, copy("standard", 100, 0.85, 1.0), copy("copycat", 100, 0.5, 500.0), copy("copycat", 200, 0.75, 900.0))
SECOND = theft(
    5, copy("standard", 100, 0.95, 2.0), copy("copycat", 100, 0.7, 600.0, 42), copy("copycat", 200, 0.65, 9e3)
)


def rows(thefts: list[DomainTheft], title: str) -> list[list[str]]:
    """Return the cells of the rows of an attack in the tables of divisions."""
    lines = [line for line in theft_tables(thefts, 1e-3) if line.startswith(f"| {title}")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_a_file_holds_a_division(tmp_path: Path) -> None:
    assert read_theft(write_theft(FIRST, tmp_path)) == FIRST
    write_theft(SECOND, tmp_path)
    assert read_thefts(tmp_path, "digits") == [FIRST, SECOND]
    assert read_thefts(tmp_path, "mnist") == []


def test_values_have_a_spread_where_they_differ_as_they_are_shown() -> None:
    assert spread([1.0, 2.0, 6.0], "{:.0f}".format) == "3 (1 to 6)"
    assert spread([2.98, 3.02], "{:.0f}".format) == "3"


def test_figures_of_several_divisions_are_means_with_the_least_and_the_largest() -> None:
    first, second = (row for row in rows([FIRST, SECOND], "CopyCat CNN |"))
    assert first[2:6] == ["100", "60.0% (50.0% to 70.0%)", "60.0% (50.0% to 70.0%)", "550 (500 to 600)"]
    assert first[6:8] == ["55.0 (50.0 to 60.0)", "55.0 (50.0 to 60.0)"]
    assert first[9] == "42, at 1 of 2"
    assert second[2:6] == ["200", "70.0% (65.0% to 75.0%)", "70.0% (65.0% to 75.0%)", "4,950 (900 to 9,000)"]


def test_an_attack_of_some_divisions_says_of_which() -> None:
    alone = theft(6, copy("standard", 100, 0.9, 1.0))
    assert [row[0] for row in rows([FIRST, SECOND, alone], "CopyCat CNN (")] == ["CopyCat CNN (divisions 4, 5)"] * 2
    assert [row[0] for row in rows([FIRST, alone], "CopyCat CNN (")] == ["CopyCat CNN (division 4)"] * 2
    assert rows([FIRST, SECOND, alone], "Standard (") == []
    short = with_tables("<!-- tables of digits -->\n<!-- end of digits -->", {"digits": [FIRST, alone]})
    assert "| CopyCat CNN (division 4) | strangers | 200 |" in short


def test_the_price_of_a_good_copy_stands_beside_an_honest_users_for_as_many_answers() -> None:
    assert rows([FIRST], "CopyCat CNN,") == [
        ["CopyCat CNN, strangers", "70 %", "200", "180,000", "300", "600", "18,000", "400", "45.0"],
        ["CopyCat CNN, strangers", "80, 90 %", "not reached", *[""] * 6],
    ]
    both = rows([FIRST, SECOND], "CopyCat CNN,")[0]
    assert both[1:4] == ["70 %", "150 (100 to 200)", "120,000 (60,000 to 180,000)"]
    nine_tenths = [row for row in rows([FIRST, SECOND], "Standard,") if row[1] == "90 %"]
    assert nine_tenths[0][2:6] == ["100, in 1 of 2", "200", "150", "1.33"]


def test_an_attack_that_is_too_cheap_is_named() -> None:
    assert list(missed_musts(FIRST, 100.0)) == ["CopyCat CNN: 90.0 floors an answer under paper"]
    assert not list(missed_musts(replace(FIRST, copies=FIRST.copies[:1]), 100.0))


@pytest.mark.skipif(not MEASURED, reason="no attacks are measured")
def test_the_pages_say_what_the_files_hold() -> None:
    thefts = {domain: read_thefts(FILES, domain) for domain in DOMAINS}
    assert with_tables(PAGE.read_text(), thefts) == PAGE.read_text()
    for domain, divisions in thefts.items():
        if divisions:
            assert (FILES / f"{domain}.md").read_text() == domain_page(divisions, read_solved(FILES, domain))


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
def test_a_measured_division_has_each_attack_at_rising_numbers_of_answers(path: Path) -> None:
    measured = read_theft(path)
    assert path.stem == f"{measured.domain}-{measured.seed}"
    assert not measured.commit.endswith("+")
    for name in ATTACK_KINDS:
        answers = [copy.answers for copy in measured.of(name)]
        assert answers == sorted(set(answers))


def test_a_page_without_a_domains_section_is_refused() -> None:
    with pytest.raises(ValueError, match="no section of digits"):
        with_tables("# Attacks\n", {"digits": [FIRST]})


DIGITS = [read_theft(path) for path in MEASURED if path.stem.startswith("digits-")]
MUST = [name for name, kind in ATTACK_KINDS.items() if kind.must]


def said(numbers: Sequence[float], form: str = ",.0f") -> str:
    """Return the least and the largest number as the page gives them."""
    return f"{min(numbers):{form}} to {max(numbers):{form}}"


@pytest.mark.skipif(not DIGITS, reason="no attacks on the digits are measured")
def test_what_the_page_says_of_the_digits_is_so() -> None:
    page = " ".join(PAGE.read_text().split())
    copies = [copy for measured in DIGITS for copy in measured.copies if copy.attack in MUST]
    floors = [copy.floors["evidence"] for copy in copies]
    paid = [copy.floors["paper"] for copy in copies if copy.answers == 10_000]
    assert min(*floors, *paid) >= 100
    assert f"pay {said(floors)} floors an answer under our policy from" in page
    assert f"and {said(paid)} under the paper's after 10,000" in page
    (missed,) = (copy for copy in copies if copy.answers == 5_000 and copy.floors["paper"] < 100)
    assert f"the paper's asks {missed.floors['paper']:.1f} of Knockoff Adaptive in one division" in page
    short = [copy for copy in copies if copy.answers == 1_000]
    assert f"has paid {said([copy.floors['paper'] for copy in short], '.2f')} floors each" in page
    right = [100 * copy.accuracy for copy in short if copy.attack != "datafree"]
    alone = [100 * copy.accuracy for copy in short if copy.attack == "datafree"]
    assert f"right in {said(right)} % (of DataFree, in {said(alone)} %)" in page
    cheap = [copy.floors for measured in DIGITS for name in ("inout", "jacobian") for copy in measured.of(name)]
    assert f"policy for {said([floors['paper'] for floors in cheap], '#.3g')} floors" in page
    assert f"Under ours they pay {said([floors['evidence'] for floors in cheap])}." in page
    seen = [copy.prada for measured in DIGITS for copy in measured.copies if copy.prada is not None]
    assert f"after {said(seen)}, and in one division Knockoff Adaptive" in page
    assert sum("knockoff-adaptive" in {copy.attack for copy in each.copies if copy.prada} for each in DIGITS) == 1
    assert [measured.alarmed for measured in DIGITS] == [0.0, 0.0, 0.1]


def test_what_the_page_says_of_the_larger_sets_is_so() -> None:
    page = " ".join(PAGE.read_text().split())
    larger = {path.stem: read_theft(path) for path in MEASURED if not path.stem.startswith("digits-")}
    copies = [copy for measured in larger.values() for copy in measured.copies if copy.attack in MUST]
    assert all(min(copy.floors.values()) >= 100 for copy in copies if copy.answers == 10_000)
    assert all(copy.floors["evidence"] >= 100 for copy in copies)
    missed = [copy.floors["paper"] for copy in copies if copy.answers == 5_000 and copy.floors["paper"] < 100]
    assert f"and the paper's but for Knockoff Adaptive in one division of MNIST, {missed[0]:.1f}." in page
    assert len(missed) == 1
    short = [copy.floors for copy in copies if copy.answers == 1_000]
    paper = said([floors["paper"] for floors in short])
    assert f"After 1,000, the paper's asks for {paper}; ours for {said([f['evidence'] for f in short])}." in page
    strangers = ("knockoff-random", "knockoff-adaptive", "copycat")
    right = {
        domain: said(
            [
                100 * copy.accuracy
                for stem, measured in larger.items()
                if stem.startswith(domain)
                for name in strangers
                for copy in measured.of(name)
                if copy.answers == 5_000
            ]
        )
        for domain in ("fashion", "cifar10")
    }
    assert f"right in {right['fashion']} %, of CIFAR-10 in {right['cifar10']} %" in page
    alarmed = {
        domain: [100 * measured.alarmed for stem, measured in larger.items() if stem.startswith(domain)]
        for domain in ("fashion", "mnist", "cifar10")
    }
    assert f"at {said(alarmed['fashion'])} % there, at {said(alarmed['mnist'])} % on MNIST, and at 30 %" in page
    assert alarmed["cifar10"] == [30.0]
    moved = [measured.of("jacobian")[-1].floors["paper"] for measured in larger.values()]
    assert f"the paper's policy for {said(moved, '.1f')} floors" in page


@pytest.mark.skipif(not DIGITS, reason="no attacks on the digits are measured")
def test_a_good_copy_of_the_digits_costs_who_has_no_data_thousands_of_times_as_much() -> None:
    page = " ".join(PAGE.read_text().split())
    times: dict[str, list[float]] = {}
    missing: dict[str, int] = {}
    for measured in DIGITS:
        for name, kind in ATTACK_KINDS.items():
            found = measured.reaching(name, 0.9)
            if found is None:
                missing[name] = missing.get(name, 0) + 1
                continue
            data = kind.data if kind.data in (GENUINE, MOVED) else "none"
            honest = measured.honest_total("evidence", found.answers)
            times.setdefault(data, []).append(found.total("evidence") / honest)
    assert f"without data {said(times['none'])} times" in page
    assert f"(Jacobian) pays {said(times[MOVED])} times" in page
    assert all(0.9 < ratio < 1.1 for ratio in times[GENUINE])
    assert missing == {"datafree": 3, "eat": 1, "knockoff-random": 1, "copycat": 1}
