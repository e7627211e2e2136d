"""Word vocabulary of a text classifier: texts -> ids of words at one padded length."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

PADDING, UNKNOWN = 0, 1
SPECIAL = 2  # ids before those of words
_WORD = re.compile(r"[a-z]+|[0-9]+|[^\sa-z0-9]")


def words_of(text: str) -> list[str]:
    """Split a text into lower-case words, numbers and other characters."""
    return _WORD.findall(text.lower())


@dataclass(frozen=True)
class WordVocabulary:
    """Words in descending order of frequency: that at position i has the id i + SPECIAL."""

    words: tuple[str, ...]
    length: int  # ids a text

    @classmethod
    def of(cls, texts: Iterable[str], most: int, length: int) -> "WordVocabulary":
        """Return the vocabulary of the `most` frequent words of the texts."""
        counts = Counter(word for text in texts for word in words_of(text))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(tuple(ranked[:most]), length)

    @property
    def ids(self) -> int:
        """Number of ids, special ones included."""
        return SPECIAL + len(self.words)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return ids int64 [n, length]: longer texts are cut, shorter ones padded, other words UNKNOWN."""
        tokens = torch.full((len(texts), self.length), PADDING)
        for row, text in zip(tokens, texts, strict=True):
            found = [self._index.get(word, UNKNOWN) for word in words_of(text)[: self.length]]
            row[: len(found)] = torch.tensor(found, dtype=torch.int64)
        return tokens

    @cached_property
    def _index(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words, SPECIAL)}
