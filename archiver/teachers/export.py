"""The ensemble's artefact as it is written: a program of torch.export with its card."""

from pathlib import Path

import torch
from torch import nn

from calpow.archiver.teachers.training_set import TrainingError
from calpow.handler.leakage.ensemble import CARD_FILE, Ensemble, EnsembleCard


def export(module: nn.Module, input_shape: tuple[int, ...]) -> torch.export.ExportedProgram:
    """A module of inputs float32 `[n, *input_shape]` as a program for any n. Raises TrainingError."""
    example = torch.zeros(2, *input_shape)
    batch = torch.export.Dim("batch")
    try:
        return torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
    except Exception as problem:  # torch.export raises nearly anything
        reason = next((line.strip() for line in str(problem).splitlines() if line.strip()), "no reason given")
        raise TrainingError(
            f"torch.export cannot store the network for batches of any size ({type(problem).__name__}: {reason}):"
            " take another, or let its forward depend on no values and no batch size"
        ) from problem


def write_ensemble(ensemble: nn.Module, card: EnsembleCard, output: Path) -> None:
    """Export with a free batch axis to a `.pt2` file, and load it back: what is written can be served.

    `ensemble` maps inputs float32 `[n, *card.input_shape]` to votes int64 `[n, classes]`, on the CPU. Whatever was
    at `output` stays until the new file is whole. Raises TrainingError when the file cannot be written.
    """
    program = export(ensemble, card.input_shape)
    scratch = output.with_name(f".{output.name}")
    try:
        torch.export.save(program, scratch, extra_files={CARD_FILE: card.to_json()})
        Ensemble.load(scratch)
        scratch.replace(output)
    except OSError as problem:
        raise TrainingError(f"{output} cannot be written: {problem.strerror}") from problem
    finally:
        scratch.unlink(missing_ok=True)
