"""Victims with their protected twins: built once, served together by one TorchServe."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import requests
import torch

from calpow.archiver.packaging import ArchiveOrder, build
from calpow.archiver.server import Server
from calpow.archiver.teachers.teacher_order import TeacherOrder
from calpow.archiver.teachers.training import train
from calpow.archiver.victim.fingerprint import fingerprint
from calpow.archiver.victim.victim_archive import open_victim
from calpow.client import PowAuth
from calpow.handler.config import file_sha256
from calpow.handler.leakage.output import recognise
from calpow.handler.leakage.specs import OutputKind, ScoreName, ScoreSpec, VictimShape
from calpow.handler.leakage.teachers.ensemble import Ensemble, EnsembleCard
from calpow.handler.ledger.history import History
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.uri import open_ledger
from calpow.handler.policy.calibrated_policy import BatchRows
from calpow.puzzle.profiles import DEFAULT_PROFILE, PROFILES
from tests.support.calibrations import EVIDENCE, calibration, flat_test
from tests.support.victims import build as victims

TIMEOUT = 30.0
TEACHERS = 4
# The file of a site's audit, beside its ledger.
AUDIT = "audit.jsonl"


@dataclass(frozen=True)
class Protected:
    """A victim's archive, its teachers, its calibration, and the archive that guards it."""

    victim: Path
    teachers: Path
    calibration: Path
    guarded: Path


def protect(
    folder: Path,
    name: str,
    victim: Path,
    teachers: Path,
    profile: str = DEFAULT_PROFILE,
    odd_from: float = 1e300,
) -> Protected:
    """Package a victim with teachers that fit it; an answer takes 200 hashes of work.

    It takes more after samples whose privacy cost exceeds `odd_from`; none does by default.
    """
    card = Ensemble.load(teachers, "cpu").card
    calibration_file = folder / f"{name}.json"
    calibration(
        shape=VictimShape(card.classes, card.input_shape, "float32", card.layer),
        victim_sha256=fingerprint(victim),
        parts={"teachers.pt": file_sha256(teachers)},
        rows=BatchRows(in_order=True, counted=False),
        output=output_of(victim, card),
        scores=(
            ScoreSpec(ScoreName.pate, {"sigma": card.teachers / 25, "delta": 1e-5, "teachers": float(card.teachers)}),
        ),
        evidence=dataclasses.replace(EVIDENCE, tests=(flat_test(card.classes, odd_from),)),
        puzzle=PROFILES[profile].kind,
        floor_seconds=0.0002,
    ).save(calibration_file)
    guarded = build(ArchiveOrder(victim, teachers, calibration_file, folder, name, force=True))
    return Protected(victim, teachers, calibration_file, guarded)


def output_of(victim: Path, card: EnsembleCard) -> OutputKind:
    """Return what the output of the victim's model is."""
    assert card.input_shape is not None
    assert card.input_shape is not None
    with open_victim(victim) as opened:
        output = opened.recorder.ask(torch.rand(16, *card.input_shape)).output
        assert output is not None
        return recognise([output], card.classes)


def train_teachers(folder: Path, victim: Path, data: Path, trunk: str | None = None) -> Path:
    """Train a small ensemble for a victim; that on a trunk of inputs suits any victim that takes them."""
    output = folder / "teachers.pt"
    train(TeacherOrder(victim, data, output, teachers=TEACHERS, trunk=trunk))
    return output


def build_all(folder: Path) -> Mapping[str, Protected]:
    """Build one protected victim of each kind; returns them by name."""
    for part in ("vector", "function", "headers", "eager", "script", "guarded"):
        (folder / part).mkdir()
    vector = victims.vector_class(folder / "vector", batched=True)
    on_vectors = train_teachers(folder / "vector", vector, victims.vectors(folder / "vectors"), "random")
    function = victims.vector_function(folder / "function")
    headers = victims.headers(folder / "headers")
    eager = victims.pictures(folder / "eager", "eager", script=False)
    script = victims.pictures(folder / "script", "script", script=True)
    on_pictures = train_teachers(folder / "eager", eager, victims.colours(folder / "colours"), "scattering")
    target = folder / "guarded"
    return {
        "vector": protect(target, "vector", vector, on_vectors),
        "hard": protect(target, "hard", vector, on_vectors, profile="scrypt"),
        "function": protect(target, "function", function, on_vectors),
        "headers": protect(target, "headers", headers, on_vectors),
        "eager": protect(target, "eager", eager, on_pictures),
        "script": protect(target, "script", script, on_pictures),
    }


def picture(parts: Mapping[str, Protected]) -> bytes:
    """Return a picture that the victims `eager` and `script` know."""
    return (parts["eager"].victim.parents[1] / "colours" / "3" / "0.png").read_bytes()


@dataclass(frozen=True)
class Site:
    """A running server with every victim twice: `NAME` guarded, `NAME-plain` as it was (that of `hard` is vector's)."""

    server: Server
    ledger_uri: str
    parts: Mapping[str, Protected]

    @property
    def picture(self) -> bytes:
        """A picture that the victims `eager` and `script` know."""
        return picture(self.parts)

    @property
    def ledger(self) -> Ledger:
        """The ledger its workers share."""
        return open_ledger(self.ledger_uri)

    @property
    def audit(self) -> Path:
        """The file of its audit."""
        return Path(self.ledger_uri.removeprefix("sqlite:///")).with_name(AUDIT)

    def key(self, account: str) -> str:
        """A new key of an account."""
        return self.ledger.add_key(account)

    def history(self, account: str, model: str = "vector") -> History:
        """Return the past of an account."""
        return self.ledger.account(model, account).history

    def plain(self, model: str, payload: bytes, **options: object) -> requests.Response:
        """Ask the victim as it was."""
        return requests.post(self.server.url(f"{model}-plain"), data=payload, timeout=TIMEOUT, **options)  # type: ignore[arg-type]

    def paid(self, model: str, payload: bytes, key: str, **options: object) -> requests.Response:
        """Ask the guarded one and do the work."""
        return requests.post(
            self.server.url(model),
            data=payload,
            auth=PowAuth(key),
            timeout=TIMEOUT,
            **options,  # type: ignore[arg-type]
        )

    def raw(self, model: str, payload: bytes, key: str | None = None, solution: str | None = None) -> requests.Response:
        """Ask the guarded one as `curl` would."""
        headers = {"X-Api-Key": key, "PoW-Solution": solution}
        given = {name: value for name, value in headers.items() if value is not None}
        return requests.post(self.server.url(model), data=payload, headers=given, timeout=TIMEOUT)
