"""The figures of `benchmarks.speed` as one table."""

from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.mint.mint_rates import table as mint_table
from benchmarks.serving.demo_model import BATCH_SIZE
from benchmarks.serving.load import BATCHED_CONNECTIONS, CONNECTIONS, ROUNDS, BatchedRound, Round
from benchmarks.speed.speed_figures import SpeedFigures

if TYPE_CHECKING:
    from benchmarks.speed.batch_times import Batches
    from benchmarks.speed.query_stages import Stages

WIDTH = 34


def table(figures: SpeedFigures) -> Iterator[str]:
    """Yield the lines of the table."""
    yield from _throughput(figures.rounds)
    yield from batched_lines(figures.batched)
    yield from _query(figures.stages)
    yield from _batches(figures.batches)
    yield from mint_table(figures.rates)


def _throughput(rounds: Sequence[Round]) -> Iterator[str]:
    yield f"\nAnswered queries a second, medians of {ROUNDS} interleaved rounds"
    yield _heads(CONNECTIONS)
    by_count = [[each for each in rounds if each.connections == count] for count in CONNECTIONS]
    yield _row("users who pay, on the same cores", by_count, lambda each: (each.unprotected, each.protected))
    yield "the server alone, work done beforehand:"
    yield _row("  paid beforehand: one request", by_count, lambda each: (each.server.unprotected, each.server.prepaid))
    yield _row("  challenge and answer: two", by_count, lambda each: (each.server.unprotected, each.server.interactive))
    yield _row("    challenges (402)", by_count, lambda each: (each.server.unprotected, each.server.challenges))
    yield _row("    answers (200)", by_count, lambda each: (each.server.unprotected, each.server.redemptions))
    busy = max(each.server.client_share for each in rounds)
    yield f"(the light client took at most {busy:.0%} of one core when it asked without the gate)"


def batched_lines(rounds: Sequence[BatchedRound]) -> Iterator[str]:
    """Yield the lines of a server that batches."""
    yield f"\nThe same of a server that runs up to {BATCH_SIZE} requests as one batch"
    yield _heads(BATCHED_CONNECTIONS)
    by_count = [[each for each in rounds if each.connections == count] for count in BATCHED_CONNECTIONS]
    pairs = [[(each.unprotected, each.prepaid) for each in column] for column in by_count]
    yield _pairs_row("  paid beforehand: one request", pairs)


def _heads(counts: Sequence[int]) -> str:
    connections = " " * WIDTH + "".join(f"{_connections(count):^30}" for count in counts)
    return f"{connections}\n{' ' * WIDTH}" + f"{'without':>10}{'with':>10}{'ratio':>8}  " * len(counts)


def _row(name: str, by_count: Sequence[Sequence[Round]], pick: Callable[[Round], tuple[float, float]]) -> str:
    return _pairs_row(name, [[pick(each) for each in rounds] for rounds in by_count])


def _pairs_row(name: str, columns: Sequence[Sequence[tuple[float, float]]]) -> str:
    cells = []
    for pairs in columns:
        ratio = median(protected / without for without, protected in pairs)
        without, protected = (median(column) for column in zip(*pairs, strict=True))
        cells.append(f"{without:>10,.0f}{protected:>10,.0f}{ratio:>8.2f}  ")
    return f"{name:<{WIDTH}}{''.join(cells)}"


def _connections(count: int) -> str:
    return "1 connection" if count == 1 else f"{count} connections"


def _query(stages: "Stages") -> Iterator[str]:
    yield "\nWhere a query's time goes, 1 connection, median microseconds"
    yield f"{'':<{WIDTH}}" + "".join(
        f"{name:>13}" for name in ("unprotected", "challenge", "answer", "both", "prepaid")
    )
    columns = (stages.unprotected, stages.challenge, stages.answer, stages.prepaid)
    yield _line("HTTP and TorchServe's frontend", *(column.http for column in columns))
    yield _line("the unprotected worker", stages.unprotected.worker, 0.0, 0.0, 0.0)
    for stage in stages.challenge.stages:
        yield _line(stage, 0.0, *(column.stages[stage] for column in columns[1:]))
    yield _line("all of the server's", *(column.http + column.worker for column in columns))
    yield f"{'an unpaid request (402), worker':<{WIDTH}}{'':>13}{_number(stages.challenge.worker):>13}"
    solving = f"the client solves {stages.expected_hashes:,.0f} hashes"
    yield f"{solving:<{WIDTH}}{'':>39}" + f"{stages.solving:>13,.0f}" * 2


def _line(name: str, plain: float, challenge: float, answer: float, prepaid: float) -> str:
    cells = "".join(f"{_number(each):>13}" for each in (plain, challenge, answer, challenge + answer, prepaid))
    return f"{name:<{WIDTH}}{cells}"


def _number(microseconds: float) -> str:
    return f"{microseconds:,.0f}" if microseconds else "-"


def _batches(batches: "Batches") -> Iterator[str]:
    yield "\nIn batches, median microseconds"
    yield f"{'':<{WIDTH}}" + "".join(f"{size:>13}" for size in batches.ensemble)
    for name, column in (("ensemble", batches.ensemble), ("victim", batches.victim)):
        yield f"{name:<{WIDTH}}" + "".join(f"{each:>13,.0f}" for each in column.values())
    yield f"{'accounting for 64 queries':<{WIDTH}}{batches.accounting_64:>13,.0f}"
