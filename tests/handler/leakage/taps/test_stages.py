"""The inner layers that are looked into are found by running a model, of any kind, and its answers stay the same."""

import functools
import itertools
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # the customary name

from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import HookableModel, Recorder
from calpow.handler.leakage.tapping import find_depths, find_features
from calpow.handler.leakage.taps.features import find_layer
from calpow.handler.leakage.taps.stages import answers_alike, choose_depths


class FunctionalNet(nn.Module):
    """Model of images whose activations and pooling are no modules, and work in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3)
        self.hidden, self.last = nn.Linear(96, 20), nn.Linear(20, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits `[n, 3]`."""
        middle = F.max_pool2d(F.relu_(self.second(F.relu_(self.first(inputs)))), 2)
        logits: Tensor = self.last(F.relu_(self.hidden(middle.flatten(1))))
        return logits


class TextNet(nn.Module):
    """Model of token ids `[n, t]`: an embedding, a body on `[n, t, 8]`, and two linear layers."""

    def __init__(self, body: nn.Module, pool: Callable[[object], Tensor], width: int = 8) -> None:
        super().__init__()
        self.embedding, self.body, self.pool = nn.Embedding(30, 8), body, pool
        self.hidden, self.last = nn.Linear(width, 5), nn.Linear(5, 3)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits `[n, 3]`."""
        logits: Tensor = self.last(self.hidden(self.pool(self.body(self.embedding(ids)))).relu())
        return logits


class AttentionBody(nn.Module):
    """One block of attention with a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.norm = nn.MultiheadAttention(8, 2, batch_first=True), nn.LayerNorm(8)

    def forward(self, values: Tensor) -> Tensor:
        """Return `[n, t, 8]`."""
        normed: Tensor = self.norm(values + self.attention(values, values, values)[0])
        return normed


class Transposed(nn.Module):
    """A body that works on `[n, 8, t]`."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, values: Tensor) -> Tensor:
        """Return what the body does."""
        result: Tensor = self.body(values.transpose(1, 2))
        return result


def block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(True), nn.MaxPool2d(2)
    )


def perceptron(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def mean(values: object) -> Tensor:
    assert isinstance(values, Tensor)
    return values.mean(dim=1)


def flipped(values: object) -> Tensor:
    assert isinstance(values, Tensor)
    return values.transpose(1, 2)


def last_step(result: object) -> Tensor:
    assert isinstance(result, tuple)
    step: Tensor = result[0][:, -1]
    return step


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


IMAGES, COLOURS, IDS, ROWS = (2, 1, 12, 12), (2, 3, 32, 32), None, (2, 6)
Shape = tuple[int, ...] | None
ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], Shape, tuple[str, ...]]] = {
    "functional": (FunctionalNet, IMAGES, ("first", "second")),
    "two convolutions": (
        lambda: nn.Sequential(
            *(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(24, 20), nn.ReLU(), nn.Linear(20, 3)),
        ),
        IMAGES,
        ("2", "5"),
    ),
    "batch normalisation": (
        lambda: nn.Sequential(
            *(block(3, 4), block(4, 8), block(8, 8), block(8, 8)),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)),
        ),
        COLOURS,
        ("0.3", "2.3"),
    ),
    "residual network": (torchvision.models.resnet18, (2, 3, 64, 64), ("layer2.0.bn1", "layer3.0.downsample.1")),
    "one linear layer": (lambda: nn.Linear(6, 3), ROWS, ()),
    "one hidden layer": (lambda: perceptron(6, 8, 3), ROWS, ()),
    "two hidden layers": (lambda: perceptron(6, 8, 7, 3), ROWS, ("1",)),
    "six hidden layers": (lambda: perceptron(6, 8, 8, 8, 8, 8, 8, 3), ROWS, ("3", "5")),
    "bag of words": (
        lambda: nn.Sequential(nn.EmbeddingBag(30, 8), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)),
        IDS,
        ("0",),
    ),
    "recurrent": (lambda: TextNet(nn.LSTM(8, 8, batch_first=True), last_step), IDS, ("embedding", "body")),
    "attention": (lambda: TextNet(AttentionBody(), mean), IDS, ("embedding", "body.norm")),
    "convolutions of text": (
        lambda: TextNet(
            Transposed(nn.Sequential(nn.Conv1d(8, 9, 2), nn.ReLU())), lambda values: mean(flipped(values)), 9
        ),
        IDS,
        ("embedding", "body.body.1"),
    ),
    # torch computes an encoder layer in one function, unless a part of it has hooks.
    "transformer": (lambda: TextNet(encoder(), mean), IDS, ("embedding",)),
}


@functools.cache
def built(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    make, shape, _ = ARCHITECTURES[name]
    return make().eval(), torch.randint(0, 30, (2, 7)) if shape is None else torch.rand(shape)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_ends_of_stages_before_the_last_features_are_found(name: str) -> None:
    model, example = built(name)
    last = find_layer(model, lambda: model(example))
    assert choose_depths(model, lambda: model(example), last) == ARCHITECTURES[name][2]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_tapped_model_answers_as_before_and_shows_a_row_a_sample(name: str) -> None:
    model, example = built(name)
    batch = torch.cat([example, example.flip(0), example])
    with torch.inference_mode():
        before = model(batch).clone()
    recorder = Recorder(model)
    find_features(recorder, ModelInputs.of(example))
    names = find_depths(recorder, ModelInputs.of(example))
    call = recorder.ask(batch)
    assert call.output is not None
    assert torch.equal(call.output, before)
    assert tuple(call.depths) == names
    for numbers in call.depths.values():
        assert numbers.shape[0] == 6
        assert torch.allclose(numbers[:2], numbers[4:], atol=1e-5)
        assert torch.allclose(numbers[:2], numbers[2:4].flip(0), atol=1e-5)
        assert not torch.allclose(numbers[0], numbers[1], atol=1e-6)


class Shy(nn.Module):
    """Model that answers in another way once a part of it has hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.shy, self.last = nn.Linear(6, 8), nn.Linear(8, 7), nn.Linear(7, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits `[n, 3]`."""
        more = 1e-6 if self.shy._forward_hooks else 0.0
        logits: Tensor = self.last(self.shy(self.first(inputs)).tanh()) + more
        return logits


def test_layers_whose_hooks_change_the_answer_are_left_alone() -> None:
    model, example = Shy().eval(), torch.rand(2, 6)

    def probe() -> Tensor:
        return model(example)  # type: ignore[no-any-return]  # nn.Module

    assert not answers_alike(model, probe, ["shy"])
    assert answers_alike(model, probe, ["first"])
    assert choose_depths(model, probe, "") == ("first",)
    assert not model.shy._forward_hooks


def test_a_model_that_draws_numbers_is_compared_on_the_same_ones() -> None:
    model, example = perceptron(6, 8, 7, 3), torch.rand(2, 6)
    state = torch.random.get_rng_state()
    assert choose_depths(model, lambda: F.dropout(model(example)), "4") == ("1",)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_model_whose_answers_differ_by_themselves_has_no_depths() -> None:
    model, runs = perceptron(6, 8, 7, 3), iter(range(100))
    assert choose_depths(model, lambda: model(torch.rand(2, 6)) + next(runs), "4") == ()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_models_that_take_no_hooks_have_no_depths() -> None:
    eager, example = perceptron(6, 8, 7, 3).eval(), torch.rand(2, 6)
    for model in (torch.jit.script(eager), HookableModel(torch.jit.script(eager)), HookableModel(eager.forward), len):
        assert choose_depths(model, lambda: eager(example), "") == ()
    # Compiling would take seconds; the attribute is that of a compiled model.
    eager._orig_mod = None  # type: ignore[assignment]
    assert choose_depths(eager, lambda: eager(example), "") == ()


def test_a_model_without_an_answer_has_no_depths() -> None:
    model = perceptron(6, 8, 7, 3)
    assert choose_depths(model, lambda: None, "4") == ()
