"""Time that pricing adds to a victim's own forward pass, side by side, on one thread.

    python -m benchmarks.added_time

The victim is an untrained MnistNet, the teachers and the references are random numbers of the usual sizes: times do not
depend on their values. One table is of five scores, the other of all that `calpow calibrate` computes of images, which
a worker computes that bets on their joint oddness. All three passes use the same weights and take turns, so that other
load affects them alike. The teachers vote through the ensemble that a worker loads, with its checks.
"""

import copy
import functools
import operator
import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from calpow.archiver.teachers.networks import MNISTNET_SHAPE, mnistnet
from calpow.handler.leakage.batches import BatchMaker, Teachers
from calpow.handler.leakage.input_range import RangeCheck
from calpow.handler.leakage.meter import Meter
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Call, Recorder
from calpow.handler.leakage.references import LAST, Gaussians, Mixture, References
from calpow.handler.leakage.registry import ScoreSources, make_score
from calpow.handler.leakage.score import VictimOutput
from calpow.handler.leakage.specs import InputRange, OutputKind, ScoreName, ScoreSpec, VictimShape
from calpow.handler.leakage.tapping import find_depths, find_features
from calpow.handler.leakage.teachers.ensemble import Ensemble, EnsembleCard
from calpow.handler.leakage.teachers.heads import HeadEnsemble, Heads, HeadVotes
from calpow.handler.leakage.teachers.trunks import VICTIM
from tests.support.ensembles import digests, ensemble_card

CLASSES, TEACHERS, AXES, PROTOTYPES, COMPONENTS = 10, 250, 64, 1000, 20
POOLED_PIXELS, POOL = 196, 2
ROUNDS = {1: 2000, 64: 100}
QUANTILES = (0.1, 0.5)


def make_timed_meter(model: nn.Module, *, every: bool) -> Meter:
    """Return a meter of the model by the default scores of images, or by five of them, which read two depths."""
    recorder, example = Recorder(model), ModelInputs.of(torch.rand(1, *MNISTNET_SHAPE))
    tap, depths = find_features(recorder, example), find_depths(recorder, example)
    shown = recorder.replay(example)
    assert shown.features is not None
    widths = {name: shown.depths[name].shape[1] for name in depths} | {LAST: shown.features.shape[1]}
    references = References(
        layers=depths,
        axes={name: torch.randn(width, min(width, AXES)) for name, width in widths.items()},
        prototypes={name: torch.randn(PROTOTYPES, min(width, AXES)) for name, width in widths.items()},
        gaussians={name: _gaussians(width) for name, width in widths.items()},
        mixture=_mixture(),
        token_costs=None,
    )
    axes = references.axes[LAST]
    heads = Heads(torch.randn(AXES, TEACHERS * CLASSES), torch.randn(TEACHERS * CLASSES))
    ensemble = Ensemble(_card(), HeadVotes(HeadEnsemble(nn.Identity(), heads, CLASSES)), torch.device("cpu"))
    teachers = Teachers(ensemble.votes, VictimOutput.PROJECTION)
    specs = _every_score(widths) if every else _five_scores(depths)
    sources = ScoreSources(CLASSES, OutputKind.logits, references, has_teachers=True)
    shape = VictimShape(CLASSES, MNISTNET_SHAPE, layer=tap.name)
    scores = tuple(make_score(spec, sources) for spec in specs)
    needs = functools.reduce(operator.or_, [score.needs for score in scores], VictimOutput.PROJECTION)
    batches = BatchMaker(shape, OutputKind.logits, needs, depths, axes, teachers)
    return Meter(recorder, scores, RangeCheck(InputRange((0.0,), (1.0,))), batches)


PATE = ScoreSpec(ScoreName.pate, {"teachers": TEACHERS, "sigma": 10.0, "delta": 1e-5})


def _five_scores(depths: Iterable[str]) -> list[ScoreSpec]:
    distances = [ScoreSpec(ScoreName.mahalanobis, {}, name) for name in depths]
    return [PATE, ScoreSpec(ScoreName.energy, {}), ScoreSpec(ScoreName.prototypes, {}), *distances]


def _every_score(layers: Iterable[str]) -> list[ScoreSpec]:
    on_layers = [
        ScoreSpec(name, {}, layer) for layer in layers for name in (ScoreName.prototypes, ScoreName.mahalanobis)
    ]
    others = [ScoreSpec(name, {}) for name in (ScoreName.energy, ScoreName.norm, ScoreName.density)]
    return [PATE, ScoreSpec(ScoreName.vote_entropy, {"teachers": TEACHERS}), *others, *on_layers]


def _card() -> EnsembleCard:
    return ensemble_card(
        classes=CLASSES,
        class_names=tuple(map(str, range(CLASSES))),
        input_shape=None,
        trunk=VICTIM,
        width=AXES,
        teachers=TEACHERS,
        partition_sizes=(CLASSES,) * TEACHERS,
        partition_digests=digests(TEACHERS),
    )


def _gaussians(width: int) -> Gaussians:
    return Gaussians(torch.randn(width, width), torch.randn(CLASSES, width))


def _mixture() -> Mixture:
    return Mixture(
        pool=POOL,
        centre=torch.rand(POOLED_PIXELS),
        axes=torch.randn(POOLED_PIXELS, AXES),
        whitening=torch.randn(COMPONENTS, AXES, AXES),
        means=torch.randn(COMPONENTS, AXES),
        log_weights=torch.rand(COMPONENTS),
    )


def sharing_weights(model: nn.Module) -> nn.Module:
    """Return a model of the same weights, which holds no hooks."""
    return copy.deepcopy(model, {id(weights): weights for weights in model.parameters()})


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
    for name, every in (("five scores", False), ("all scores", True)):
        print(f"{name}:\n")
        print_table(every=every)
        print()


def print_table(*, every: bool) -> None:
    """Print the times with all scores or five as a Markdown table."""
    torch.manual_seed(0)
    model = mnistnet(CLASSES, MNISTNET_SHAPE).eval()
    plain = sharing_weights(model)
    meter = make_timed_meter(model, every=every)

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
