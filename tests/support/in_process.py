"""An account as a worker's parts charge it in this process, to compare a server's with."""

from functools import reduce

from torch import Tensor

from calpow.archiver.victim.victim_archive import open_victim
from calpow.handler.leakage.meter import Artefacts, make_meter
from calpow.handler.leakage.sample_identity import SampleIdentifier
from calpow.handler.leakage.teachers.ensemble import Ensemble
from calpow.handler.ledger.history import NO_HISTORY, History
from calpow.handler.policy.calibration_file import load_policy
from tests.support.guarded import Protected


def charged_here(protected: Protected, inputs: Tensor) -> History:
    """Return the history of an account that sends these inputs [n, ...] one by one."""
    policy = load_policy(protected.calibration)
    identifier = SampleIdentifier(bytes.fromhex(policy.victim_sha256), policy.input_range)
    with open_victim(protected.victim) as opened:
        artefacts = Artefacts(Ensemble.load(protected.teachers, "cpu"))
        shape, output = policy.shape, policy.output
        meter = make_meter(opened.recorder, shape, output, policy.scores, policy.input_range, artefacts)
        call = opened.recorder.ask(inputs)
        scored = meter.price_calls([call])
        identities = identifier.identities([call], [len(inputs)], "test")
    charges = policy.charges(scored.costs.tolist(), scored.labels.tolist(), identities)
    return reduce(policy.evidence.after, charges, NO_HISTORY)
