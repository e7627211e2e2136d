"""Heads on a public backbone: any of torchvision's, with the owner's file of weights, and clear words otherwise."""

import importlib
import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from calpow.archiver.teachers import backbone
from calpow.archiver.teachers.backbone import make_backbone
from calpow.archiver.teachers.teacher_order import TeacherOrder
from calpow.archiver.teachers.training import train
from calpow.handler.errors import TrunkError
from calpow.handler.leakage.teachers.ensemble import Ensemble
from tests.support.victims.build import colours, pictures

SHAPE = (3, 32, 32)


def weights_of(folder: Path, architecture: str, classes: int = 1000) -> Path:
    torch.manual_seed(0)
    path = folder / f"{architecture}-{classes}.pth"
    torch.save(models.get_model(architecture, weights=None, num_classes=classes).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return weights_of(tmp_path_factory.mktemp("weights"), "resnet18")


def test_features_are_what_the_classifier_would_have_seen(resnet18: Path) -> None:
    images = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    whole = models.resnet18(weights=None)
    whole.load_state_dict(torch.load(resnet18, weights_only=True))
    trunk = make_backbone("torchvision:resnet18", resnet18, SHAPE)
    with torch.inference_mode():
        features = trunk(images)
        assert features.shape == (3, 512)
        assert torch.allclose(whole.eval().fc(features), whole(images), atol=1e-5)
    assert not any(parameter.requires_grad for parameter in trunk.parameters())


@pytest.mark.parametrize("architecture", ["mobilenet_v3_small", "shufflenet_v2_x0_5", "mnasnet0_5"])
def test_the_last_linear_layer_goes_wherever_it_is_called_and_however_many_classes_it_has(
    tmp_path: Path, architecture: str
) -> None:
    weights = weights_of(tmp_path, architecture, classes=7)
    trunk = make_backbone(f"torchvision:{architecture}", weights, SHAPE)
    assert trunk(torch.zeros(1, *SHAPE)).shape[1] > 500


def refused(name: str, weights: Path | None, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(TrunkError, match=words) as refusal:
        make_backbone(name, weights, shape)
    assert "\n" not in str(refusal.value)


def test_what_is_no_backbone_is_refused(tmp_path: Path, resnet18: Path) -> None:
    refused("torchvision:resnet19", resnet18, SHAPE, "no classifier 'resnet19'")
    refused("torchvision:", resnet18, SHAPE, "no classifier ''")
    refused("torchvision:fcn_resnet50", resnet18, SHAPE, "no classifier")
    refused("torchvision:squeezenet1_1", resnet18, SHAPE, "does not end with a linear layer")
    refused("torchvision:resnet18", None, SHAPE, "give --weights FILE")


def test_inputs_the_backbone_does_not_take_are_refused(resnet18: Path) -> None:
    refused("torchvision:resnet18", resnet18, (1, 28, 28), r"takes images of 3 channels.*makes \(1, 28, 28\)")
    refused("torchvision:resnet18", resnet18, (3,), "takes images of 3 channels")


@pytest.mark.training  # its weights take 240 MB
def test_images_too_small_for_the_backbone_are_refused(tmp_path: Path) -> None:
    alexnet = tmp_path / "alexnet.pth"
    torch.save(models.get_model("alexnet", weights=None).state_dict(), alexnet)
    refused("torchvision:alexnet", alexnet, (3, 8, 8), r"does not take images of \(3, 8, 8\)")


@pytest.mark.slow
def test_weights_that_are_not_the_architectures_are_refused(tmp_path: Path, resnet18: Path) -> None:
    refused("torchvision:resnet34", resnet18, SHAPE, r"is not of resnet34: \d+ tensors")
    refused("torchvision:resnet18", tmp_path / "none.pth", SHAPE, "No such file")
    rubbish = tmp_path / "rubbish.pth"
    rubbish.write_bytes(b"hello")
    refused("torchvision:resnet18", rubbish, SHAPE, "is not a state_dict")
    torch.save([1, 2], rubbish)
    refused("torchvision:resnet18", rubbish, SHAPE, "is not a state_dict")
    torch.save(nn.Linear(2, 2), rubbish)
    refused("torchvision:resnet18", rubbish, SHAPE, "is not a state_dict")
    state = torch.load(resnet18, weights_only=True)
    state["conv1.weight"][0] = float("nan")
    torch.save(state, rubbish)
    refused("torchvision:resnet18", rubbish, SHAPE, "NaN")


@pytest.mark.training
def test_teachers_on_a_backbone_vote_from_one_stored_program(tmp_path: Path, resnet18: Path) -> None:
    data = colours(tmp_path / "train", per_class=12)
    victim = pictures(tmp_path, "victim", script=False)
    output = tmp_path / "teachers.pt"
    weights = weights_of(tmp_path, "shufflenet_v2_x0_5")
    card = train(
        TeacherOrder(victim, data, output, teachers=3, trunk="torchvision:shufflenet_v2_x0_5", weights=weights, seed=4)
    )
    assert card.trunk == "torchvision:shufflenet_v2_x0_5"
    assert re.fullmatch("[0-9a-f]{64}", card.weights_sha256)
    assert card.vote_accuracy > 0.5
    votes = Ensemble.load(output).votes(torch.rand(5, 3, 224, 224))
    assert votes.sum(axis=1).tolist() == [3] * 5


def test_a_torchvision_of_another_torch_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "torchvision" / "__init__.py"
    package.parent.mkdir()
    package.write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.delitem(sys.modules, "torchvision")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TrunkError, match=rf"torchvision \S+ is not built for torch {re.escape(torch.__version__)}: "):
        importlib.reload(backbone)
