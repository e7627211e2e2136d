"""Export of an ensemble to its artefact: a torch.export program with its card."""

from pathlib import Path

import torch
from torch import nn

from calpow.archiver.errors import TrainingError
from calpow.handler.leakage.ensemble import CARD_FILE, Ensemble, EnsembleCard


def export(module: nn.Module, input_shape: tuple[int, ...]) -> torch.export.ExportedProgram:
    """Export a module of inputs float32 `[n, *input_shape]` as a program for any n.

    Raises TrainingError when torch.export cannot do so.
    """
    example = torch.zeros(2, *input_shape)
    batch = torch.export.Dim("batch")
    try:
        return torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
    except Exception as problem:  # torch.export raises exceptions of almost any type
        reason = next((line.strip() for line in str(problem).splitlines() if line.strip()), "no reason given")
        raise TrainingError(
            f"torch.export cannot store the network for batches of any size ({type(problem).__name__}: {reason}):"
            " take another, or make its forward independent of values and of the batch size"
        ) from problem


def write_ensemble(ensemble: nn.Module, card: EnsembleCard, output: Path) -> None:
    """Export with a free batch axis to a `.pt2` file, which is loaded once to prove that it can be served.

    `ensemble` maps inputs float32 `[n, *card.input_shape]` to votes int64 `[n, classes]`, on the CPU. A file at
    `output` is replaced once the new one is complete. Raises TrainingError when the file cannot be written.
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
