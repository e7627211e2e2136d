"""The figures of the attacks: files that hold them, the means over several divisions, and pages made of the files."""

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


@pytest.mark.skipif(not DIGITS, reason="no attacks on the digits are measured")
def test_what_the_page_says_of_the_digits_is_so() -> None:
    for measured in DIGITS:
        for name in MUST:
            copies = measured.of(name)
            assert all(copy.floors["evidence"] > 1_500 for copy in copies)
            assert copies[-1].floors["paper"] > 800
        short = {copy.attack: copy for copy in measured.copies if copy.answers == 1_000}
        assert all(3.8 < short[name].floors["paper"] < 6 for name in MUST)
        assert all(0.73 < short[name].accuracy < 0.93 for name in MUST if name != "datafree")
        cheap = [copy.floors for name in ("inout", "jacobian") for copy in measured.of(name)]
        assert all(1 <= floors["paper"] < 26 and floors["evidence"] > 1_300 for floors in cheap)
        assert measured.alarmed == 0


@pytest.mark.skipif(not DIGITS, reason="no attacks on the digits are measured")
def test_a_good_copy_of_the_digits_costs_who_has_no_data_thousands_of_times_as_much() -> None:
    for measured in DIGITS:
        for name, kind in ATTACK_KINDS.items():
            found = measured.reaching(name, 0.9)
            if found is None:
                assert name in ("datafree", "eat")
                continue
            times = found.total("evidence") / measured.honest_total("evidence", found.answers)
            least, most = {GENUINE: (0.9, 1.1), MOVED: (1_200, 1_300)}.get(kind.data, (2_500, 2_900))
            assert least < times < most, name
