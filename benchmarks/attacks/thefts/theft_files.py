"""CSV files of stolen copies, one a domain and division: a row for every copy, and for users beside them."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.attacks.thefts.attack_kinds import ATTACK_KINDS, GENUINE
from benchmarks.attacks.thefts.stolen_copies import DomainTheft, StolenCopy
from benchmarks.range.trials.policies import POLICIES

HONEST, HONEST_TITLE = "honest", "honest user, 99th percentile"
# Of the division, the same in every row; then of the row.
_DIVISION = ("domain", "seed", "commit", "victim", "owned", "alarmed")
_ROW = ("attack", "title", "queries", "answers", "accuracy", "fidelity")
_FLOORS = tuple(f"floors {policy}" for policy in POLICIES)
HEADER = (*_DIVISION, *_ROW, *_FLOORS, "privacy", "prada", "seconds")


def write_theft(theft: DomainTheft, folder: Path) -> Path:
    """Write DOMAIN-SEED.csv into a folder and return its path."""
    return write_rows(folder / f"{theft.domain}-{theft.seed}.csv", HEADER, _rows(theft))


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """Write a CSV file, in a folder that is made if need be, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return path


def read_theft(path: Path) -> DomainTheft:
    """Return what `write_theft` wrote, with as many digits as it wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    first = rows[0]
    return DomainTheft(
        domain=first["domain"],
        seed=int(first["seed"]),
        commit=first["commit"],
        victim=float(first["victim"]),
        owned=int(first["owned"]),
        alarmed=float(first["alarmed"]),
        honest={
            policy: {int(row["answers"]): float(row[column]) for row in rows if row["attack"] == HONEST}
            for policy, column in zip(POLICIES, _FLOORS, strict=True)
        },
        copies=tuple(_copy(row) for row in rows if row["attack"] != HONEST),
    )


def read_thefts(folder: Path, domain: str) -> list[DomainTheft]:
    """Return all divisions of a domain that are in a folder, by seed."""
    thefts = [read_theft(path) for path in folder.glob(f"{domain}-[0-9]*.csv")]
    return sorted(thefts, key=lambda theft: theft.seed)


def _rows(theft: DomainTheft) -> Iterator[Sequence[object]]:
    division = theft.domain, theft.seed, theft.commit, _short(theft.victim), theft.owned, _short(theft.alarmed)
    for answers in theft.honest[POLICIES[0]]:
        paid = [_short(theft.honest[policy][answers]) for policy in POLICIES]
        yield *division, HONEST, HONEST_TITLE, GENUINE, answers, "", "", *paid, "", "", ""
    for copy in theft.copies:
        kind = ATTACK_KINDS[copy.attack]
        quality = copy.answers, _short(copy.accuracy), _short(copy.fidelity)
        paid = [_short(copy.floors[policy]) for policy in POLICIES]
        raised = "" if copy.prada is None else copy.prada
        yield (
            *(*division, copy.attack, kind.title, kind.data, *quality),
            *(*paid, _short(copy.privacy), raised, round(copy.seconds, 1)),
        )


def _short(value: float) -> str:
    return f"{value:.6g}"


def _copy(row: Mapping[str, str]) -> StolenCopy:
    return StolenCopy(
        attack=row["attack"],
        answers=int(row["answers"]),
        accuracy=float(row["accuracy"]),
        fidelity=float(row["fidelity"]),
        floors={policy: float(row[column]) for policy, column in zip(POLICIES, _FLOORS, strict=True)},
        privacy=float(row["privacy"]),
        prada=int(row["prada"]) if row["prada"] else None,
        seconds=float(row["seconds"]),
    )
