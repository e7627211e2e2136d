"""Protected archives of every kind that an older torch may be asked to serve; run with the newest torch there is."""

import json
import sys
from pathlib import Path

import torch

from calpow.archiver.teachers.teacher_order import TeacherOrder
from calpow.archiver.teachers.training import train
from tests.support.guarded import protect, train_teachers
from tests.support.own_models import image_classifier
from tests.support.victims import build as victims
from tests.support.victims import teacher_nets

HEADS, PICTURES, SCRIPT, PROGRAM = "heads", "pictures", "script", "program"


def build(folder: Path) -> None:
    """Write `HEADS.mar`, `PICTURES.mar`, `SCRIPT.mar` and `PROGRAM.mar`, and torch's version to `torch.json`.

    The teachers of the last are a program of torch.export, those of the others are weights.
    """
    for part in ("vector", "script"):
        (folder / part).mkdir()
    vector = victims.vector_class(folder / "vector")
    data = victims.vectors(folder / "vectors")
    protect(folder, HEADS, vector, train_teachers(folder / "vector", vector, data))
    on_inputs = train_teachers(folder / "script", vector, data, "random")
    protect(folder, SCRIPT, victims.vector_function(folder / "script"), on_inputs)
    pictures = image_classifier(folder / "picture")
    protect(
        folder, PICTURES, pictures.victim, train_teachers(pictures.folder, pictures.victim, pictures.folder / "train")
    )
    networks = folder / "networks.pt"
    network = f"{Path(teacher_nets.__file__)}:small"
    train(TeacherOrder(vector, data, networks, teachers=2, trunk="none", network=network, epochs=1))
    protect(folder, PROGRAM, vector, networks)
    (folder / "torch.json").write_text(json.dumps(torch.__version__))


if __name__ == "__main__":
    build(Path(sys.argv[1]))
