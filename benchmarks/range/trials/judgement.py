"""The judgement of one policy on one domain and seed: all figures, stored as JSON."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from benchmarks.range.cache import folder, whole_file
from benchmarks.range.domain import RangeDomain
from benchmarks.range.trials import honest, stealing
from benchmarks.range.trials.keys import source_key
from benchmarks.range.trials.policies import fit_policy
from benchmarks.range.trials.scored_sets import chosen_tolerances, score_domain
from calpow.archiver.progress import announce

Figures: TypeAlias = Mapping[str, Any]  # numbers, and names of what they are of

_JUDGED_BY = tuple(
    f"benchmarks/range/trials/{name}.py" for name in ("judgement", "honest", "oracle", "policies", "stealing")
)
_PRICED_BY = ("archiver/calibration/rehearsal.py", "archiver/calibration/policy_fit")


@dataclass(frozen=True)
class Judgement:
    """Figures in floors.

    fit: what was chosen. honest: what the 99th percentile of users pays, by class mix and number of queries. shifts:
    the same by shift, of all classes and of the dearest. repeaters: of users who send one payload. strangers: by kind.
    """

    domain: str
    seed: int
    policy: str
    tolerated: tuple[str, ...]
    fit: Figures
    honest: Mapping[str, Mapping[str, float]]
    shifts: Mapping[str, Figures]
    repeaters: float
    strangers: Mapping[str, Figures]

    @property
    def dearest(self) -> float:
        """The payment of the 99th percentile of users of the dearest class mix."""
        return max(paid for of_mix in self.honest.values() for paid in of_mix.values())

    @property
    def share(self) -> float:
        """The floor in unprotected answers with which the dearest class mix waits twice the unprotected time.

        The time that pricing takes is left out.
        """
        return 1 / self.dearest


def judge(domain: RangeDomain, seed: int, policy: str, tolerate: Sequence[str] | None) -> Judgement:
    """Return the judgement of a policy, from the cache if neither the code nor the inputs have changed."""
    announce(f"{domain.name}, seed {seed}, {policy}")
    scored = score_domain(domain, seed)
    tolerated = chosen_tolerances(domain, scored) if tolerate is None else tuple(tolerate)
    fitted = fit_policy(domain.name, seed, scored, domain.classes, tolerated, policy)
    key = source_key((*_JUDGED_BY, *_PRICED_BY), scored.key, tolerated, policy, fitted.described())
    path = folder() / "judgements" / f"{domain.name}-{seed}-{policy}-{key}.json"
    if not path.is_file():
        judgement = Judgement(
            domain=domain.name,
            seed=seed,
            policy=policy,
            tolerated=tolerated,
            fit=fitted.described(),
            honest=honest.class_mixes(fitted, scored, domain.classes, seed),
            shifts=honest.shifted(fitted, scored, domain.classes, tolerated, seed),
            repeaters=honest.repeaters(fitted, scored, seed),
            strangers=stealing.thefts(fitted, domain, scored, seed),
        )
        with whole_file(path) as scratch:
            scratch.write_text(json.dumps(dataclasses.asdict(judgement), indent=1))
    stored = json.loads(path.read_text())
    return Judgement(**{**stored, "tolerated": tuple(stored["tolerated"])})
