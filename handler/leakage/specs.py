"""Descriptions of the victim and of its scores, as a calibration holds them. Importable without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

Settings = Mapping[str, float]


@dataclass(frozen=True)
class VictimShape:
    """Shape of the victim's model.

    classes: the number of its classes.
    input_shape: the shape of one input without the batch axis; None where inputs differ in shape (texts, say), or
        where the model takes several tensors.
    input_dtype: the type of the inputs' numbers, as torch names it; empty where the model takes several tensors.
    layer: the name of the model's module whose input are the features; empty where the output stands for them.
    """

    classes: int
    input_shape: tuple[int, ...] | None
    input_dtype: str = "float32"
    layer: str = ""


class OutputKind(Enum):
    """Meaning of the numbers that the victim's model returns: one row a sample, or one number of two classes."""

    probabilities = "probabilities"
    log_probabilities = "log_probabilities"
    logits = "logits"
    binary_probability = "binary_probability"
    binary_logit = "binary_logit"

    @property
    def is_binary(self) -> bool:
        """Whether one number a sample stands for two classes: it is high for the second."""
        return self in (OutputKind.binary_probability, OutputKind.binary_logit)


@dataclass(frozen=True)
class InputRange:
    """Least and largest number of legitimate inputs: by channel of `[channels, height, width]`, else by place.

    There is one pair where all numbers share a range, as they do where inputs differ in shape, and none for inputs that
    have no range: those of several tensors.

    spacing: the distance of legitimate inputs that lie next to each other, in units of their ranges by place; 0 where
        they have none.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    spacing: float = 0.0


class ScoreName(Enum):
    """The scores by their names."""

    pate = "pate"
    vote_entropy = "vote-entropy"
    entropy = "entropy"
    gap = "gap"
    energy = "energy"
    norm = "norm"
    prototypes = "prototypes"
    mahalanobis = "mahalanobis"
    density = "density"
    tokens = "tokens"
    pknn = "pknn"
    odin = "odin"
    odin_moved = "odin-moved"


# Scores of the teachers' votes, of the victim's probabilities, of its last features, of any layer, and of its input.
ON_VOTES = frozenset({ScoreName.pate, ScoreName.vote_entropy})
ON_PROBABILITIES = frozenset({ScoreName.entropy, ScoreName.gap})
ON_FEATURES = frozenset({ScoreName.norm, ScoreName.pknn, ScoreName.odin, ScoreName.odin_moved})
ON_LAYERS = frozenset({ScoreName.prototypes, ScoreName.mahalanobis})
ON_INPUT = frozenset({ScoreName.density, ScoreName.tokens})


@dataclass(frozen=True)
class ScoreSpec:
    """A score by its name, with the settings that it was calibrated with.

    `layer` is the name of the module whose output a score of ON_LAYERS reads; empty for the victim's last features.
    """

    name: ScoreName
    settings: Settings
    layer: str = ""

    @property
    def label(self) -> str:
        """The name, with the layer where it is not the last: `mahalanobis@blocks.0`."""
        return f"{self.name.value}@{self.layer}" if self.layer else self.name.value

    @property
    def place(self) -> str:
        """Where the score looks at the model: `votes`, `output`, `features`, `input`, or the name of an inner layer."""
        if self.on_votes:
            return "votes"
        if self.on_features:
            return "features"
        if self.layer:
            return self.layer
        return "input" if self.name in ON_INPUT else "output"

    @property
    def on_features(self) -> bool:
        """Whether the score reads the victim's last features."""
        return self.name in ON_FEATURES or (self.name in ON_LAYERS and not self.layer)

    @property
    def on_votes(self) -> bool:
        """Whether the score reads the teachers' votes."""
        return self.name in ON_VOTES
