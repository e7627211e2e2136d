"""A victim with its teachers and held-out payloads, made once for all tests of calibration."""

from pathlib import Path

import numpy as np
import pytest

from calpow.archiver.teachers.teacher_order import TeacherOrder
from calpow.archiver.teachers.training import train
from tests.support.victims.build import vector_class, vectors

TEACHERS = 5


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a victim that knows vectors, its teachers, and 30 held-out vectors of each class."""
    home = tmp_path_factory.mktemp("calibration")
    vector_class(home, "victim")
    train(TeacherOrder(home / "victim.mar", vectors(home / "train"), home / "teachers.pt", teachers=TEACHERS))
    rng = np.random.default_rng(0)
    for label in range(4):
        folder = home / "heldout" / str(label)
        folder.mkdir(parents=True)
        for number in range(30):
            vector = rng.random(4)
            vector[label] += 0.7
            (folder / f"{number}.txt").write_text(",".join(f"{value:.3f}" for value in vector))
    return home
