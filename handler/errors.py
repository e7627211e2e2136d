"""The errors of the gate that stop a model from loading or a payload from being read.

CalpowError
├── GateMisconfigured
│   └── NoDistribution (calpow.handler.leakage.output)
├── PricingUnavailable
├── VictimError
│   └── BadPayload
└── LedgerError (calpow.handler.ledger.ledger), CalibrationError (calpow.handler.policy.calibration_file),
    EnsembleError (calpow.handler.leakage.ensemble), NeighboursError (calpow.handler.leakage.neighbours)
"""

from calpow.puzzle.errors import CalpowError


class GateMisconfigured(CalpowError):
    """The archive, its parts or the server's settings do not fit each other."""


class PricingUnavailable(CalpowError):
    """The ensemble or the victim had no memory or device left to look at a query."""


class VictimError(CalpowError):
    """The victim's archive cannot be used as it is."""


class BadPayload(VictimError):
    """The victim cannot read this payload, or cannot answer it."""
