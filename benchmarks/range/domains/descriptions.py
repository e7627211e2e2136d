"""Texts: one-line descriptions of Debian's packages, of which the victim tells the section of the archive."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.range.cache import DataMissing, folder, whole_file
from benchmarks.range.domain import InputKind, LabelledInputs, RangeDomain
from benchmarks.range.shifts import TEXT_SHIFTS
from benchmarks.range.strangers.texts import text_strangers
from benchmarks.range.victims import TrainingRecipe, adam, trained_victim
from benchmarks.range.vocabulary import PADDING, WordVocabulary

NAME = "descriptions"
CLASSES = (
    *("admin", "doc", "games", "gnu-r", "golang", "haskell", "java", "javascript"),
    *("libs", "net", "perl", "python", "ruby", "rust", "science", "utils"),
)
LARGEST_CLASS = 2_500
TEST, CALIBRATION = 10_000, 5_000
SPLIT_SEED = 0
WORDS, LENGTH = 8_000, 16
RECIPE = TrainingRecipe(epochs=8, batch=128, peak=1e-2, optimizer=adam)


class SectionNet(nn.Module):
    """Ids of words int64 [n, LENGTH] -> logits [n, sections], by the mean of the words' embeddings."""

    def __init__(self, ids: int) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(ids, 64, mode="mean", padding_idx=PADDING)
        self.layers = nn.Sequential(
            nn.Dropout(0.3),
            nn.Linear(64, 128),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Linear(64, len(CLASSES)),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits [n, sections]."""
        logits: Tensor = self.layers(self.embedding(tokens))
        return logits


@dataclass(frozen=True)
class Descriptions:
    """Encoded descriptions of the classes' sections, and those of `others` as they are."""

    vocabulary: WordVocabulary
    training: LabelledInputs
    test: LabelledInputs
    others: tuple[str, ...]


def collection() -> Descriptions:
    """Return the descriptions, divided in the same way in every run. Raises DataMissing."""
    described = _descriptions()
    texts, labels = _balanced(described)
    vocabulary = WordVocabulary.of(texts[TEST:], WORDS, LENGTH)
    tokens = vocabulary.encode(texts)
    return Descriptions(
        vocabulary,
        training=LabelledInputs(tokens[TEST:], labels[TEST:]),
        test=LabelledInputs(tokens[:TEST], labels[:TEST]),
        others=tuple(text for text, section in described.items() if section not in CLASSES),
    )


def load(victim_seed: int) -> RangeDomain:
    """Return the domain. Raises DataMissing."""
    texts = collection()
    return RangeDomain(
        name=NAME,
        kind=InputKind.TOKENS,
        classes=CLASSES,
        victim=trained_victim(NAME, victim_seed, lambda: SectionNet(texts.vocabulary.ids), RECIPE, texts.training),
        training=texts.training,
        test=texts.test,
        calibration=CALIBRATION,
        strangers=text_strangers(texts.vocabulary, texts.others),
        shifts=TEXT_SHIFTS,
    )


def _balanced(described: dict[str, str]) -> tuple[list[str], Tensor]:
    """Return texts and labels int64 [n] in random order, at most LARGEST_CLASS of a section."""
    counts = dict.fromkeys(CLASSES, 0)
    texts, labels = [], []
    shuffled = list(described.items())
    for number in np.random.default_rng(SPLIT_SEED).permutation(len(shuffled)):
        text, section = shuffled[number]
        if counts.get(section, LARGEST_CLASS) < LARGEST_CLASS:
            counts[section] += 1
            texts.append(text)
            labels.append(CLASSES.index(section))
    return texts, torch.tensor(labels)


def _descriptions() -> dict[str, str]:
    """Return the section of each description. They are kept in the cache, since the archive changes."""
    path = folder() / "debian-descriptions.tsv"
    if not path.is_file():
        _collect(path)
    pairs = (line.split("\t") for line in path.read_text("utf-8").splitlines())
    return {text: section for section, text in pairs}


def _collect(path: Path) -> None:
    print(f"collecting descriptions of packages into {path}", file=sys.stderr)
    try:
        process = subprocess.run(["apt-cache", "dumpavail"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as problem:
        raise DataMissing(f"{path} cannot be made without apt-cache: use a system of Debian's family") from problem
    described = dict(_paragraphs(process.stdout))
    if len(described) <= TEST:
        raise DataMissing(f"apt-cache dumpavail lists {len(described)} descriptions, too few: run apt-get update")
    lines = [f"{section}\t{text}" for text, section in sorted(described.items())]
    with whole_file(path) as scratch:
        scratch.write_text("\n".join(lines), "utf-8")


def _paragraphs(listing: str) -> Iterator[tuple[str, str]]:
    for paragraph in listing.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if "Description" in fields and "Section" in fields:
            yield fields["Description"].replace("\t", " ").strip(), fields["Section"]
