"""Architectures of teachers: the paper's, the owner's own, and one line for whatever is neither."""

from pathlib import Path

import pytest
import torch

from calpow.archiver.errors import NetworkError
from calpow.archiver.teachers.networks import Architecture, absolute, mnistnet, try_network

NETS = Path(__file__).parents[2] / "support" / "victims" / "teacher_nets.py"

SHAPE = (4,)


def architecture(name: str) -> Architecture:
    return Architecture(f"{NETS}:{name}", 4, SHAPE)


def test_mnistnet_has_the_papers_layers() -> None:
    network = mnistnet(10, (1, 28, 28))
    counts = [sum(parameter.numel() for parameter in layer.parameters()) for layer in network.children()]
    assert [count for count in counts if count] == [520, 25_050, 400_500, 5_010]
    assert network(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


def test_mnistnet_is_refused_for_other_inputs_than_the_papers() -> None:
    with pytest.raises(NetworkError, match=r"mnistnet is for .* give your own --network"):
        mnistnet(10, (3, 32, 32))


@pytest.mark.parametrize("name", ["small", "normed"])
def test_an_architecture_of_a_file_is_taken(name: str) -> None:
    try_network(architecture(name), torch.rand(2, 4))


def test_an_architecture_of_a_module_is_taken() -> None:
    try_network(Architecture("tests.support.victims.teacher_nets:small", 4, SHAPE), torch.rand(2, 4))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("raising", "raises ValueError for 4 classes and inputs .*: no such"),
        ("nothing", "returns NoneType, let it return a torch.nn.Module"),
        ("a_number", "is int, not a function"),
        ("missing", "there is no missing in it"),
        ("narrow", r"makes torch.float32 \(2, 3\) of 2 inputs, let it make scores of shape \(2, 4\)"),
        ("crashing", r"fails on inputs of shape \(2, 4\)"),
        ("nan", "NaN or infinite scores before any training"),
        ("frozen", "no parameters to train"),
    ],
)
def test_what_is_no_architecture_is_refused_in_one_line(name: str, words: str) -> None:
    with pytest.raises(NetworkError, match=words) as refusal:
        try_network(architecture(name), torch.rand(2, 4))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet", "give mnistnet, FILE.py:FACTORY or package.module:factory"),
        ("nowhere.py:small", "nowhere.py does not exist"),
        ("no_such_package.nets:small", "there is no module no_such_package"),
        ("nets.py:not a name", "give mnistnet, FILE.py:FACTORY"),
    ],
)
def test_a_name_of_nothing_is_refused(name: str, words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        Architecture(absolute(name), 4, SHAPE).make()


def test_a_file_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import math\nraise OSError('gone')\n")
    with pytest.raises(NetworkError, match=r"broken.py:make cannot be imported: OSError: gone"):
        Architecture(f"{tmp_path / 'broken.py'}:make", 4, SHAPE).make()
