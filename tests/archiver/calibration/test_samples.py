"""Held-out payloads as samples: their costs, classes and groups."""

from pathlib import Path

from torch import Tensor

from calpow.archiver.calibration.samples import price_folder
from calpow.archiver.payloads import read_folder
from calpow.archiver.victim_archive import open_victim
from calpow.handler.leakage.score import ScoredSamples
from tests.support.victims.build import vector_class


def test_costs_come_with_the_classes_and_groups_of_their_payloads(tmp_path: Path) -> None:
    for label, name in ((0, "one/a.txt"), (0, "one/b.txt"), (0, "c.txt"), (1, "d.txt")):
        path = tmp_path / "data" / str(label) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1,2,3,4")

    def price(inputs: Tensor) -> ScoredSamples:
        return ScoredSamples(inputs.sum(dim=1, keepdim=True).double(), inputs.argmax(dim=1))

    with open_victim(vector_class(tmp_path, "victim")) as victim:
        samples = price_folder(victim, read_folder(tmp_path / "data"), price)
    assert samples.costs.tolist() == [[10.0]] * 4
    assert samples.labels.tolist() == [3] * 4
    assert samples.classes.tolist() == [0, 0, 0, 1]
    assert len(set(samples.groups[:3].tolist())) == 2
    assert samples.groups_per_class() == [2, 1]
