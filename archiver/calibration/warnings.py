"""Warnings of a calibration: reasons to look closer before a model is protected with it, a sentence or two each."""

import math
from collections.abc import Mapping, Sequence

from calpow.archiver.calibration.calibration_document import RehearsalEvidence, SimulatedProfile
from calpow.archiver.calibration.judgement import (
    AIM,
    MOST_TOLERATED,
    dearest,
    overcharged,
    short_of_aim,
    strangers,
    theft,
)
from calpow.archiver.calibration.rehearsal import QueryTimes
from calpow.archiver.calibration.samples import Samples
from calpow.archiver.calibration.timing.tight_loop import TightLoop
from calpow.handler.leakage.teachers.ensemble import EnsembleCard
from calpow.handler.policy.evidence import Evidence

# Independent samples of a class below which rare levels of a score cannot be shown.
FEW_SAMPLES = 100
WEAK_VOTE = 0.5
# An AUROC of 0.5 is chance.
SEPARATES = 0.6
# Names that a sentence lists.
MOST_NAMES = 4
# The least share of digests in the floor's time without a warning.
DIGESTS_SHARE = 0.5
# The budget is kept up to what a puzzle of whole stamps exceeds it by.
ROUNDING = 1.01


def warnings(
    evidence: RehearsalEvidence,
    samples: Samples,
    times: QueryTimes,
    card: EnsembleCard | None,
    scores: Mapping[str, bool],
) -> list[str]:
    """Return the warnings about evidence; `scores` are those in use, and whether both of their sides are odd."""
    found = _few_samples(samples)
    if card is not None and card.vote_accuracy < WEAK_VOTE:
        found.append(f"The teachers' vote is right in {card.vote_accuracy:.0%} only: give them more data.")
    return [
        *found,
        *_over_budget(evidence, times),
        *_useless_scores(evidence, scores),
        *_cheap_thefts(evidence),
        *_dear_changes(evidence),
    ]


def _few_samples(samples: Samples) -> list[str]:
    """Name the smallest class, and say what more samples would buy, as it was measured on images."""
    counts = samples.groups_per_class()
    few = sum(count < FEW_SAMPLES for count in counts)
    if not few:
        return []
    fewest = counts.index(min(counts))
    others = f" ({few} of {len(counts)} classes have fewer than {FEW_SAMPLES})" if few > 1 else ""
    return [
        f"Class {samples.class_names[fewest]} has only {counts[fewest]} independent samples{others}: so few cannot show"
        " how rarely a legitimate query looks odd, and thieves hide among its answers. With 45 samples a class, a theft"
        " costs about 10 floors, with 500 about 25 to 40."
    ]


def _over_budget(evidence: RehearsalEvidence, times: QueryTimes) -> list[str]:
    """Warn of a model so fast that the budget cannot be kept, with what would lower the overhead."""
    budget, puzzles = evidence.overhead_budget, dearest(evidence).dearest * times.floor
    whole = times.latency + times.added + puzzles
    if whole <= ROUNDING * budget * times.latency:
        return []
    if times.added > (budget - 1) * times.latency:
        remedy = (
            "the gate alone takes more than the budget, so the floor is the least puzzle; several samples a request"
            " share the gate's time, and prepaying clients do not wait for the puzzle"
        )
    elif puzzles > times.added:
        remedy = "most of that is the puzzle, which another --puzzle may lower"
    else:
        remedy = "several samples a request share the gate's time, and prepaying clients do not wait for the puzzle"
    return [
        f"The overhead budget of {budget:g} cannot be kept for a model this fast: an honest user's answer takes up to"
        f" {_milliseconds(whole)} instead of {_milliseconds(times.latency)}, {whole / times.latency:.1f} times its"
        f" time: {_milliseconds(times.added)} for pricing and accounting, {_milliseconds(puzzles)} for puzzles;"
        f" {remedy}; --overhead-budget {math.ceil(whole / times.latency)} says that this is meant."
    ]


def _milliseconds(seconds: float) -> str:
    text = f"{1e3 * seconds:.1f} ms"
    return "under 0.1 ms" if text == "0.0 ms" else text


def tight_loop_warnings(loop: TightLoop, evidence: RehearsalEvidence) -> list[str]:
    """Return a warning of a floor that is mostly the start of its stamps, with what a thief pays who saves it."""
    if loop.share >= DIGESTS_SHARE:
        return []
    thefts = [(loop.theft(thief.figures), thief.name) for thief in strangers(evidence) if thief.figures is not None]
    paid = ""
    if thefts:
        multiple, name = min(thefts)
        paid = f": {multiple:.2g} times the time of an unprotected answer for a stolen one (“{name}”)"
    return [
        f"Digests take only {1e6 * loop.seconds:,.3g} µs of the floor's {1e6 * loop.floor:,.0f} µs ({loop.share:.0%}),"
        f" the rest is the start of its stamps. A thief whose solver runs in a tight loop pays for digests only{paid}."
        " A larger --overhead-budget makes the floor's puzzle larger."
    ]


def threshold_warnings(evidence: Evidence, class_names: Sequence[str]) -> list[str]:
    """Return a warning that names the classes whose answers no score can find odd."""
    without = [
        name
        for label, name in enumerate(class_names)
        if not any(side[label] for test in evidence.tests for side in (test.high, test.low) if side)
    ]
    if not without:
        return []
    names = ", ".join(without[:MOST_NAMES]) + (f" and {len(without) - MOST_NAMES} more" if without[MOST_NAMES:] else "")
    return [
        f"No query that is answered with class {names} can be odd: too few legitimate ones are, or they vary too much,"
        " for a threshold that their users can afford. Who steals these answers pays the floor: give more samples."
    ]


def _useless_scores(evidence: RehearsalEvidence, scores: Mapping[str, bool]) -> list[str]:
    found = []
    for label, two_sided in scores.items():
        known = [attacker.auroc[label] for attacker in evidence.attackers if label in attacker.auroc]
        if known and max(_separation(auroc, two_sided=two_sided) for auroc in known) < SEPARATES:
            found.append(f"Score {label} tells no attacker from legitimate users: leave it out.")
    return found


def _separation(auroc: float, *, two_sided: bool) -> float:
    return max(auroc, 1 - auroc) if two_sided else auroc


def _cheap_thefts(evidence: RehearsalEvidence) -> list[str]:
    cheap = short_of_aim(strangers(evidence))
    if not cheap:
        return []
    return [
        f"Attackers with data of their own pay less than {AIM:g} floors for a stolen answer where they hide it among"
        f" genuine ones: {_listed(cheap, [theft(attacker) for attacker in cheap])}. A theft is as dear as legitimate"
        " queries rarely look as odd: more calibration data, or scores that see these strangers, raise it."
    ]


def _dear_changes(evidence: RehearsalEvidence) -> list[str]:
    users = overcharged(evidence)
    if not users:
        return []
    return [
        f"Users who send tolerated changes pay more than {MOST_TOLERATED:g} floors an answer:"
        f" {_listed(users, [user.dearest for user in users])}. Give held-out data that holds such samples."
    ]


def _listed(profiles: Sequence[SimulatedProfile], floors: Sequence[float]) -> str:
    """Return the names of profiles with their prices, and the number of those that are left out."""
    names = [f"“{profile.name}” ({price:.1f})" for profile, price in zip(profiles[:MOST_NAMES], floors, strict=False)]
    rest = len(profiles) - MOST_NAMES
    return ", ".join(names) + (f" and {rest} more" if rest > 0 else "")
