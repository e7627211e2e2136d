"""Table 5: seconds of inference for 64 samples, and of inference with the cost of each."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import nn

from benchmarks.added_time.timed_meter import ScoreSpecs, every_score, make_timed_meter, pate, sharing_weights
from benchmarks.results.exhibit import Exhibit, Findings, Setting, table
from calpow.archiver.teachers.networks import MNISTNET_SHAPE, mnistnet
from calpow.handler.leakage.specs import ScoreName, ScoreSpec

SAMPLES, CLASSES, TEACHERS = 64, 10, 250
ROUNDS, QUICK_ROUNDS = 30, 5
# Of the paper, for MNIST: inference alone and with PATE, entropy and gap.
PAPER = {"inference": 0.214, "privacy": 0.464, "entropy": 0.214, "gap": 0.214}


def table_5(setting: Setting) -> Findings:
    """Time the victim's pass over 64 samples, alone and with each cost, in turns."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    passes = _passes()
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(QUICK_ROUNDS if setting.quick else ROUNDS):
        for name, run in passes.items():
            begun = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    alone = medians["inference"]
    rows = [(name, f"{median:.5f}", f"{median / alone:.3f}", *_paper(name)) for name, median in medians.items()]
    header = ("what is computed", "seconds", "of inference", "the paper's seconds", "of inference")
    text = [
        f"Seconds for {SAMPLES} samples of MNIST's shape with MnistNet on one core: medians of rounds in turns. The"
        " paper's are of MNIST on its machine.",
        "",
        *table(header, rows),
        "",
        f"The paper runs {TEACHERS} networks for the privacy cost (*networks*), which Calpow can still do (`calpow"
        " teachers --trunk none`); by default, its teachers are heads on the victim's features (*privacy*). *All* are"
        " the eleven scores that a worker computes of images.",
    ]
    return Findings(text, ("computed", "seconds", "of_inference", "paper_seconds", "paper_of_inference"), rows)


def _paper(name: str) -> tuple[str, str]:
    paper = PAPER.get("privacy" if name == "networks" else name)
    return ("", "") if paper is None else (f"{paper:.3f}", f"{paper / PAPER['inference']:.3f}")


def _passes() -> Mapping[str, Callable[[], object]]:
    """Return the pass alone, and with each cost, of models that share their weights."""
    inputs = torch.rand(SAMPLES, *MNISTNET_SHAPE)
    plain = mnistnet(CLASSES, MNISTNET_SHAPE).eval()
    networks = [mnistnet(CLASSES, MNISTNET_SHAPE).eval() for _ in range(TEACHERS)]

    def inference() -> object:
        with torch.inference_mode():
            return plain(inputs)

    def voted() -> object:
        with torch.inference_mode():
            return [plain(inputs), *(network(inputs) for network in networks)]

    return {
        "inference": inference,
        "entropy": _priced(plain, inputs, lambda _: [ScoreSpec(ScoreName.entropy, {})]),
        "gap": _priced(plain, inputs, lambda _: [ScoreSpec(ScoreName.gap, {})]),
        "privacy": _priced(plain, inputs, lambda _: [pate()]),
        "all": _priced(plain, inputs, every_score),
        "networks": voted,
    }


def _priced(plain: nn.Module, inputs: torch.Tensor, scores: ScoreSpecs) -> Callable[[], object]:
    meter = make_timed_meter(sharing_weights(plain), scores)
    return lambda: meter.price(inputs)


TABLE_5 = Exhibit("table-5", "Table 5: time of the cost of queries", table_5)
