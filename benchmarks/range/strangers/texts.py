"""Strangers of a text classifier: made of its own vocabulary, or texts from elsewhere that are read with it."""

import re
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.range.cache import DataMissing
from benchmarks.range.domain import StrangerKind, StrangerMaker
from benchmarks.range.strangers.altered import sample
from benchmarks.range.vocabulary import PADDING, SPECIAL, WordVocabulary, words_of

LICENCES = Path("/usr/share/common-licenses")
FREQUENT = 100
FEWEST_WORDS = 3
REPLACED = 0.5


def random_ids(vocabulary: WordVocabulary) -> StrangerMaker:
    """Return a maker of independent, uniform words in the lengths of legitimate texts."""
    return _uniform_words(vocabulary.ids)


def frequent_words(_: WordVocabulary) -> StrangerMaker:
    """Return a maker of independent words from the most frequent ones, in the lengths of legitimate texts."""
    return _uniform_words(SPECIAL + FREQUENT)


def shuffled_words(owned: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Return words of all legitimate texts in random order, in the lengths of legitimate texts."""
    texts = sample(owned, count, rng)
    pool = owned[owned != PADDING]
    return _filled(texts, pool[torch.from_numpy(rng.integers(len(pool), size=texts.shape))])


def spliced(owned: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Return texts of which every second word, on average, is one at the same place in another text."""
    texts, others = sample(owned, count, rng), sample(owned, count, rng)
    chosen = torch.from_numpy(rng.random(texts.shape) < REPLACED) & (others != PADDING) & (texts != PADDING)
    return torch.where(chosen, others, texts)


def foreign_texts(vocabulary: WordVocabulary, texts: Callable[[], Sequence[str]]) -> StrangerMaker:
    """Return a maker that draws texts from elsewhere and reads them with the vocabulary."""

    def make(_: Tensor, count: int, rng: np.random.Generator) -> Tensor:
        collection = texts()
        chosen = rng.choice(len(collection), count, replace=count > len(collection))
        return vocabulary.encode([collection[number] for number in chosen])

    return make


@cache
def code_lines() -> Sequence[str]:
    """Return the lines of the standard library's top-level modules."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return _long_enough(line for file in files for line in file.read_text("utf-8").splitlines())


@cache
def licence_lines() -> Sequence[str]:
    """Return the lines of the licences that Debian ships. Raises DataMissing."""
    files = sorted(file for file in LICENCES.glob("*") if file.is_file() and not file.is_symlink())
    if not files:
        raise DataMissing(f"{LICENCES} has no licences: use a system of Debian's family, or leave this domain out")
    return _long_enough(line for file in files for line in file.read_text("utf-8").splitlines())


@cache
def read_me_sentences() -> Sequence[str]:
    """Return the sentences of the descriptions that the installed Python packages show on PyPI."""
    texts = [str(package.metadata.json.get("description", "")) for package in metadata.distributions()]
    return _long_enough(sentence for text in sorted(texts) for sentence in re.split(r"[.!?:]\s|\n\s*\n", text))


def text_strangers(vocabulary: WordVocabulary, other_descriptions: Sequence[str]) -> Mapping[str, StrangerKind]:
    """Return the kinds of strangers of a text classifier, by name."""
    foreign: Mapping[str, Callable[[], Sequence[str]]] = {
        "code": code_lines,
        "licences": licence_lines,
        "read-me files": read_me_sentences,
        "other descriptions": lambda: other_descriptions,
    }
    makers = {
        "random ids": random_ids(vocabulary),
        "frequent words": frequent_words(vocabulary),
        "shuffled words": shuffled_words,
        **{name: foreign_texts(vocabulary, texts) for name, texts in foreign.items()},
    }
    independent = {name: StrangerKind(make, is_derived=False) for name, make in makers.items()}
    return {**independent, "spliced": StrangerKind(spliced, is_derived=True)}


def _uniform_words(ids: int) -> StrangerMaker:
    def make(owned: Tensor, count: int, rng: np.random.Generator) -> Tensor:
        texts = sample(owned, count, rng)
        return _filled(texts, torch.from_numpy(rng.integers(SPECIAL, ids, size=texts.shape)))

    return make


def _filled(texts: Tensor, words: Tensor) -> Tensor:
    return torch.where(texts == PADDING, PADDING, words)


def _long_enough(texts: Iterator[str]) -> Sequence[str]:
    return tuple(dict.fromkeys(text.strip() for text in texts if len(words_of(text)) >= FEWEST_WORDS))
