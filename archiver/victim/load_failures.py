"""Exceptions of a victim's code while it is loaded, as errors that name the archive, the cause and a remedy."""

import traceback
import zipfile
from collections.abc import Iterator
from pathlib import Path

from calpow.handler.errors import VictimError
from calpow.handler.model_archive import read_manifest

# TorchServe looks for a handler that cannot be imported among its own.
_STOCK_HANDLERS = "ts.torch_handler."
_MOST_REQUIREMENTS = 5


def load_error(error: BaseException, mar: Path, name: str) -> VictimError:
    """Return the error for a victim that raises `error` while it is loaded from `mar`; `name` is its file's name."""
    cause = _cause(error)
    if isinstance(cause, ModuleNotFoundError) and cause.name:
        return VictimError(_missing_module(cause.name, mar, name))
    raising = "initialize" if any(frame.name == "initialize" for frame in _frames(cause)) else "handler"
    return VictimError(
        f"{name}: its {raising} raises {type(cause).__name__}: {cause}; mend it (try it with torchserve first)"
    )


def _cause(error: BaseException) -> BaseException:
    """Return the exception of the victim's own import where TorchServe's loader hid it behind its second attempt."""
    hidden = error.__context__
    second_attempt = isinstance(error, ModuleNotFoundError) and (error.name or "").startswith(_STOCK_HANDLERS)
    return hidden if second_attempt and isinstance(hidden, ImportError) else error


def _frames(error: BaseException) -> traceback.StackSummary:
    return traceback.extract_tb(error.__traceback__)


def _missing_module(module: str, mar: Path, name: str) -> str:
    manifest = read_manifest(mar)
    if module == Path(str(manifest["handler"]).partition(":")[0]).stem:
        return f"{name} holds no handler {module}: archive it again with --handler FILE.py"
    file = manifest.get("requirementsFile")
    if not isinstance(file, str):
        return (
            f"{name} needs the module {module}, which is not installed here: pip install it, and name it in a"
            " requirements file for torch-model-archiver --requirements-file"
        )
    listed = list(_requirements(mar, file))
    more = [] if len(listed) <= _MOST_REQUIREMENTS else ["..."]
    text = ", ".join(listed[:_MOST_REQUIREMENTS] + more) or "nothing"
    return f"{name} needs the module {module}, which is not installed here: pip install what its {file} lists ({text})"


def _requirements(mar: Path, file: str) -> Iterator[str]:
    with zipfile.ZipFile(mar) as archive:
        content = archive.read(file) if file in archive.namelist() else b""
    for line in content.decode(errors="replace").splitlines():
        requirement = line.partition("#")[0].strip()
        if requirement:
            yield requirement
