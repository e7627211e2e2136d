"""Keys of stored results, which change when the code or the inputs that made them do."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def source_key(places: Iterable[str], *inputs: object) -> str:
    """Return a key of the Python files and folders at these places of the repository, and of other inputs."""
    digest = sha256(repr(inputs).encode())
    for place in places:
        digest.update(_code(place))
    return digest.hexdigest()[:16]


@cache
def _code(place: str) -> bytes:
    """Return a digest of the statements of a file, or of all files of a folder, as they were at the first call."""
    digest = sha256()
    for file in _files(ROOT / place):
        tree = ast.parse(file.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                node.value.value = ""  # a docstring does not change what is computed
        digest.update(ast.dump(tree).encode())
    return digest.digest()


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(path.rglob("*.py"))
    else:
        yield path
