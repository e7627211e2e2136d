"""Measurements on the victim by the scores of a calibration: of legitimate samples and of attackers' queries."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from calpow.archiver.calibration.calibration_document import Provenance
from calpow.archiver.calibration.near_copies import near_copy_bits
from calpow.archiver.calibration.order import CalibrationOrder
from calpow.archiver.calibration.records.recorded_samples import read_records, recorded_scores, vet_records
from calpow.archiver.calibration.samples import Samples, price_folder
from calpow.archiver.calibration.score_setup import (
    ScoreSetup,
    calls_for_attackers,
    load_artefacts,
    reference_attacks,
    set_up_scores,
    tap_model,
)
from calpow.archiver.calibration.sufficiency import check_enough
from calpow.archiver.calibration.synthetic_inputs.attackers import ATTACKS
from calpow.archiver.calibration.tolerated_samples import is_hopeless, kept_tolerances, tolerated_changes
from calpow.archiver.calibration.victim_pace import choose_threads, keeping_threads
from calpow.archiver.data.class_order import check_order
from calpow.archiver.data.payloads import Payload, PayloadFolder, list_payloads
from calpow.archiver.errors import OrderError
from calpow.archiver.victim.recorded_calls import read_payloads, some_payloads
from calpow.archiver.victim.row_order import find_rows, some_rows
from calpow.archiver.victim.victim_archive import OpenVictim, VictimArchive, open_copy
from calpow.handler.config import ENSEMBLE_FILE, NEIGHBOURS_FILE, file_sha256
from calpow.handler.leakage.meter import Artefacts
from calpow.handler.leakage.recording import Call, Recorder
from calpow.handler.leakage.score import ScoredSamples
from calpow.handler.leakage.specs import ScoreName
from calpow.handler.observe.records import meter_name
from calpow.handler.policy.calibrated_policy import BatchRows

# Inputs that reference attackers are made from, and that the kind of the victim's output is recognised by.
REFERENCE_INPUTS = 1_000


@dataclass(frozen=True)
class LegitimateUse:
    """Samples of legitimate users, how many of them a payload holds, and facts about their origin.

    `tolerated` holds the same samples after each tolerated change, by its name.
    """

    samples: Samples
    tolerated: Mapping[str, ScoredSamples]
    samples_per_payload: float
    facts: Provenance


@dataclass(frozen=True)
class VictimScores:
    """Measurements of the victim: its scores, its batches, legitimate samples, and each attacker's queries.

    `parts` are the SHA-256 of the files that scores need, by their names in the archive. `own_data` names the attackers
    who bring queries of their own. `likeness` is that of near-copies.
    """

    victim_sha256: str
    parts: Mapping[str, str]
    setup: ScoreSetup
    rows: BatchRows
    legitimate: LegitimateUse
    attacks: Mapping[str, ScoredSamples]
    own_data: frozenset[str]
    likeness: int


def measure_scores(
    order: CalibrationOrder, victim: VictimArchive, folder: PayloadFolder, log: Callable[[str], None]
) -> VictimScores:
    """Set the scores up on the victim, and price legitimate payloads and attackers' queries by them.

    `log` is called with each line about the records that were used. Raises the CalpowError of whichever part does not
    fit or fails.
    """
    named = order
    if order.records is not None:
        # Without --scores, those that were recorded.
        recorded = recorded_scores(order.records)
        beside_pate = tuple(label for label in recorded if label != ScoreName.pate.value)
        named = replace(order, scores=order.scores or beside_pate or recorded)
    else:
        check_enough(folder.units_per_class(), folder.class_names)
    for name in order.attacks.keys() & ATTACKS.keys():
        raise OrderError(f"--attack {name}: {name} is a reference attacker's name, give another")
    strangers = {name: list_payloads(path, order.part) for name, path in order.attacks.items()}
    files = {ENSEMBLE_FILE: order.ensemble, NEIGHBOURS_FILE: order.neighbours}
    parts = {name: file_sha256(path) for name, path in files.items() if path is not None}
    with open_copy(victim) as opened, keeping_threads():
        artefacts = load_artefacts(order, opened, folder)
        chosen = some_payloads(folder.payloads, REFERENCE_INPUTS, order.seed)
        read = read_payloads(opened, chosen, functools.partial(_prepare, opened.recorder, artefacts))
        calls = [call for of_payload in read.values() for call in of_payload]
        setup = set_up_scores(named, opened, folder, calls, artefacts)
        if order.records is None:
            legitimate = _price_legitimate(order, opened, folder, setup, read, log)
        else:
            meter = meter_name(opened.fingerprint, parts, setup.output, setup.scores)
            samples = sum(setup.meter.samples(call) for call in calls)
            samples_per_payload = samples / min(REFERENCE_INPUTS, len(folder.payloads))
            legitimate = _read_legitimate(order, order.records, meter, folder, setup, samples_per_payload, log)
        # After the pass over all payloads, which lists those that cannot be read together.
        rows = find_rows(opened.victim, some_rows(folder.payloads, order.seed))
        attacked = calls_for_attackers(calls, setup)
        if len(attacked) < len(calls):
            log(f"note: the victim is slow, so that each reference attacker sends {len(attacked)} queries")
        attacks = reference_attacks(attacked, setup, order.seed)
        for name, payloads in strangers.items():
            queries = price_folder(opened, replace(folder, payloads=payloads), setup.meter, name).samples
            attacks[name] = ScoredSamples(queries.costs, queries.labels)
        own_data = frozenset(name for name in attacks if name not in ATTACKS or ATTACKS[name].own_data)
        likeness = near_copy_bits(calls, setup)
        return VictimScores(opened.fingerprint, parts, setup, rows, legitimate, attacks, own_data, likeness)


def _prepare(recorder: Recorder, artefacts: Artefacts, example: Call) -> None:
    """Get a model ready for many calls like `example`, which are to be priced."""
    tap_model(recorder, artefacts, example)
    choose_threads(lambda: recorder.replay(example.arguments))


def _price_legitimate(
    order: CalibrationOrder,
    opened: OpenVictim,
    folder: PayloadFolder,
    setup: ScoreSetup,
    read: Mapping[Payload, Sequence[Call]],
    log: Callable[[str], None],
) -> LegitimateUse:
    changes = tolerated_changes(order, [call for calls in read.values() for call in calls], setup)
    # In random order, the first payloads show which changes are harmful. Those that the owner names are kept anyway.
    places = np.random.default_rng(order.seed).permutation(len(folder.payloads))
    mixed = replace(folder, payloads=tuple(folder.payloads[place] for place in places))
    gives_up = is_hopeless if order.tolerate is None else None
    priced = price_folder(opened, mixed, setup.meter, changes=changes, known=read, gives_up=gives_up)
    samples = priced.samples
    tolerated = kept_tolerances(order, priced, log)
    answers, classes = samples.labels.numpy(), samples.classes.numpy()
    if warning := check_order(answers, classes, folder, order.output, order.classes):
        log(f"note: {warning}")
    right = float((samples.labels == samples.classes).double().mean())
    return LegitimateUse(samples, tolerated, len(samples.costs) / len(folder.payloads), {"answer_accuracy": right})


def _read_legitimate(
    order: CalibrationOrder,
    records: Path,
    meter: str,
    folder: PayloadFolder,
    setup: ScoreSetup,
    samples_per_payload: float,
    log: Callable[[str], None],
) -> LegitimateUse:
    """Read what mode `observe` recorded with this meter, without the accounts that are no legitimate users."""
    recorded = read_records(records, meter, setup.shape.classes, len(setup.scores))
    vetted = vet_records(recorded, folder.class_names, np.random.default_rng(order.seed))
    for line in vetted.describe():
        log(line)
    return LegitimateUse(vetted.samples, {}, samples_per_payload, vetted.facts)
