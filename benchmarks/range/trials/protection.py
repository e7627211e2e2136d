"""The protection of a domain's victim: its teachers, and the scores that a calibration of it would compute."""

from pathlib import Path

import numpy as np
from torch import Tensor

from benchmarks.range.cache import folder
from benchmarks.range.domain import RangeDomain
from benchmarks.range.trials.keys import source_key
from benchmarks.range.trials.teaching import teach
from benchmarks.range.victims import victim_file
from calpow.archiver.calibration.score_setup import ScoreSetup, score_specs, shown_scores
from calpow.archiver.calibration.victim_scores import REFERENCE_INPUTS
from calpow.archiver.teachers.vote_noise import vote_settings
from calpow.handler.config import file_sha256
from calpow.handler.leakage.input_range import measure_range
from calpow.handler.leakage.meter import Artefacts, make_meter
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Recorder
from calpow.handler.leakage.specs import ON_VOTES, OutputKind, ScoreName, Settings, VictimShape
from calpow.handler.leakage.tapping import find_features
from calpow.handler.leakage.teachers.ensemble import Ensemble

VICTIM_SEED = 0
# Rooms whose code determines what teachers are, below the repository's root.
_TAUGHT_BY = (
    *(f"archiver/teachers/{name}" for name in ("heads.py", "partitions.py", "references")),
    *(f"handler/leakage/taps/{name}.py" for name in ("depths", "features", "stages")),
    "handler/leakage/tapping.py",
    "benchmarks/range/trials/teaching.py",
)


def teachers_file(domain: RangeDomain) -> Path:
    """Return the path of the domain's teachers in the cache, trained unless they are there."""
    victim_sha256 = file_sha256(victim_file(domain.name, VICTIM_SEED))
    path = folder() / "teachers" / f"{domain.name}-{source_key(_TAUGHT_BY, victim_sha256)}.pt"
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        teach(domain, Recorder(domain.victim), victim_sha256, path)
    return path


def protect(domain: RangeDomain, reference: Tensor) -> ScoreSetup:
    """Return all scores that the domain's victim shows with its teachers.

    `reference` are legitimate inputs [n, ...], of which the form and the range are taken.
    """
    recorder = Recorder(domain.victim)
    ensemble = Ensemble.load(teachers_file(domain))
    artefacts = Artefacts(ensemble)
    tap = find_features(recorder, ModelInputs.of(reference[:1]))
    dtype = str(reference.dtype).removeprefix("torch.")
    shape = VictimShape(len(domain.classes), tuple(reference.shape[1:]), dtype, tap.name)
    output = OutputKind.logits

    def settings(name: ScoreName) -> Settings:
        return vote_settings(ensemble.card.teachers, None) if name in ON_VOTES else {}

    specs = score_specs(shown_scores(shape, output, artefacts), artefacts, settings)
    input_range = measure_range(reference)
    meter = make_meter(recorder, shape, output, specs, input_range, artefacts)
    return ScoreSetup(shape, output, specs, artefacts, input_range, meter)


def reference_inputs(calibration: Tensor, seed: int) -> Tensor:
    """Return as many calibration inputs as a calibration makes its reference attackers from."""
    chosen = np.random.default_rng(seed).permutation(len(calibration))[:REFERENCE_INPUTS]
    return calibration[chosen]
