"""The file with a token that another program keeps fresh."""

from __future__ import annotations

from dataclasses import dataclass

from calpow.client.errors import TokenFileUnusable

_MOST_CHARACTERS = 1 << 16


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A file with a token, which may be replaced by a fresh one at any time."""

    path: str

    def read(self) -> str:
        """Return the token that is in the file now. Raises TokenFileUnusable."""
        try:
            with open(self.path, encoding="ascii") as file:
                return file.read(_MOST_CHARACTERS).strip()
        except OSError as error:
            raise TokenFileUnusable(f"the token's file {self.path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise TokenFileUnusable(f"the token's file {self.path} does not hold a token") from error
