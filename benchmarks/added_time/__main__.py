"""Time that pricing adds to a victim's own forward pass, side by side, on one thread.

    python -m benchmarks.added_time

The victim is an untrained MnistNet, the teachers and the references are random numbers of the usual sizes: times do not
depend on their values. One table is of five scores, the other of all that `calpow calibrate` computes of images, which
a worker computes that bets on their joint oddness. All three passes use the same weights and take turns, so that other
load affects them alike. The teachers vote through the ensemble that a worker loads, with its checks.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.added_time.timed_meter import (
    CLASSES,
    ScoreSpecs,
    every_score,
    five_scores,
    make_timed_meter,
    sharing_weights,
)
from calpow.archiver.teachers.networks import MNISTNET_SHAPE, mnistnet
from calpow.handler.leakage.recording import Call

ROUNDS = {1: 2000, 64: 100}
QUANTILES = (0.1, 0.5)


def times(passes: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the sorted microseconds of each pass; they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(rounds):
        for name, run in passes.items():
            begun = time.perf_counter()
            run()
            seconds[name].append(1e6 * (time.perf_counter() - begun))
    return {name: sorted(values) for name, values in seconds.items()}


def main() -> None:
    """Print the times as Markdown tables."""
    torch.set_num_threads(1)
    for name, scores in (("five scores", five_scores), ("all scores", every_score)):
        print(f"{name}:\n")
        print_table(scores)
        print()


def print_table(scores: ScoreSpecs) -> None:
    """Print the times with these scores as a Markdown table."""
    torch.manual_seed(0)
    model = mnistnet(CLASSES, MNISTNET_SHAPE).eval()
    plain = sharing_weights(model)
    meter = make_timed_meter(model, scores)

    def forward(inputs: Tensor) -> None:
        with torch.inference_mode():
            plain(inputs)

    def recorded(inputs: Tensor) -> list[Call]:
        with meter.recorder.recording() as recording, torch.inference_mode():
            model(inputs)
        return recording.calls

    print(
        "| batch | quantile | forward, us | recorded | recorded and priced | pricing adds | share of the forward pass |"
    )
    print("|---|---|---|---|---|---|---|")
    for size, rounds in ROUNDS.items():
        inputs = torch.rand(size, *MNISTNET_SHAPE)
        passes: dict[str, Callable[[], object]] = {
            "forward": lambda inputs=inputs: forward(inputs),  # type: ignore[misc]
            "recorded": lambda inputs=inputs: recorded(inputs),  # type: ignore[misc]
            "priced": lambda inputs=inputs: meter.price_calls(recorded(inputs)),  # type: ignore[misc]
        }
        times(passes, rounds // 10)
        microseconds = times(passes, rounds)
        for quantile in QUANTILES:
            alone, seen, whole = (values[int(rounds * quantile)] for values in microseconds.values())
            row = f"{alone:.0f} | {seen:.0f} | {whole:.0f} | {whole - alone:.0f} | {(whole - alone) / alone:.2f}"
            print(f"| {size} | {quantile} | {row} |")


if __name__ == "__main__":
    main()
