"""The writing of an ensemble to its file, as weights or as a program of torch.export."""

from __future__ import annotations

import importlib
import io
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import nn

from calpow.archiver.errors import TrainingError
from calpow.archiver.whole_file import whole_file
from calpow.handler.config import release
from calpow.handler.leakage.references import References
from calpow.handler.leakage.teachers.ensemble import Ensemble, EnsembleCard, save_heads, save_program
from calpow.handler.leakage.teachers.heads import HeadEnsemble
from calpow.handler.leakage.teachers.trunks import TRUNKS

if TYPE_CHECKING:
    from torch.export import ExportedProgram

# The oldest torch whose export takes common networks with batches of any size.
OLDEST_EXPORT = "2.4"


def export(module: nn.Module, input_shape: tuple[int, ...]) -> ExportedProgram:
    """Export a module of inputs float32 `[n, *input_shape]` as a program for any n.

    Raises TrainingError when torch.export cannot do so.
    """
    exporter = _exporter()
    example = torch.zeros(2, *input_shape)
    batch = exporter.Dim("batch")
    try:
        program: ExportedProgram = exporter.export(module, (example,), dynamic_shapes=({0: batch},))
        return program
    except Exception as problem:  # torch.export raises exceptions of almost any type
        reason = next((line.strip() for line in str(problem).splitlines() if line.strip()), "no reason given")
        raise TrainingError(
            f"torch.export cannot store the network for batches of any size ({type(problem).__name__}: {reason}):"
            " take another, or make its forward independent of values and of the batch size"
        ) from problem


def write_ensemble(ensemble: nn.Module, card: EnsembleCard, references: References | None, output: Path) -> None:
    """Write an ensemble to a file, which is loaded once to prove that it can be served.

    `ensemble` maps float32 values `[n, ...]` to votes int64 `[n, classes]`, on the CPU. Heads on one of our trunks are
    written as weights; others are exported with a free batch axis. A file at `output` is replaced once the new one is
    complete. Raises TrainingError when the file cannot be written.
    """
    try:
        with whole_file(output) as scratch:
            if isinstance(ensemble, HeadEnsemble) and card.trunk in TRUNKS:
                save_heads(scratch, card, references, ensemble)
            else:
                save_program(scratch, replace(card, torch=torch.__version__), references, _exported(ensemble, card))
            Ensemble.load(scratch)
    except OSError as problem:
        raise TrainingError(f"{output} cannot be written: {problem.strerror}") from problem


def _exported(ensemble: nn.Module, card: EnsembleCard) -> bytes:
    if card.input_shape is None:
        raise TrainingError("the model takes inputs of several shapes or several tensors: take --trunk victim")
    buffer = io.BytesIO()
    _exporter().save(export(ensemble, card.input_shape), buffer)
    return buffer.getvalue()


def _exporter() -> ModuleType:
    """Return torch.export, which is younger than the oldest torch that trains heads. Raises TrainingError."""
    if release(torch.__version__) < release(OLDEST_EXPORT):
        raise TrainingError(
            f"exporting teachers needs torch >= {OLDEST_EXPORT}; here is {torch.__version__}: upgrade torch, or take"
            f" --trunk {', '.join(TRUNKS[:-1])} or {TRUNKS[-1]}"
        )
    return importlib.import_module("torch.export")
