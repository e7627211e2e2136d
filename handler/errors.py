"""The errors of the handler.

CalpowError (calpow.puzzle.errors)
└── GateError
    ├── GateMisconfigured
    │   └── NoDistribution
    │       └── BareClass
    ├── PricingUnavailable
    ├── VictimError
    │   └── BadPayload
    ├── CalibrationError
    ├── DecodingError
    ├── EnsembleError
    ├── TrunkError
    ├── NeighboursError
    ├── LedgerError
    │   └── LedgerUnavailable
    ├── BadToken
    ├── UnknownIdentity
    ├── IdentityFileError
    └── RecordError
"""

from calpow.puzzle.errors import CalpowError


class GateError(CalpowError):
    """Root of this room's errors."""


class GateMisconfigured(GateError):
    """The archive, its parts or the server's settings do not fit each other."""


class PricingUnavailable(GateError):
    """The ensemble or the victim has no memory or device left to price a query."""


class VictimError(GateError):
    """The victim's archive cannot be used as it is."""


class BadPayload(VictimError):
    """The victim cannot read this payload, or cannot answer it."""


class NoDistribution(GateMisconfigured):
    """The victim's output is not a distribution over its classes, so no score can be computed from it."""


class BareClass(NoDistribution):
    """The victim answers with a class and without probabilities."""


class CalibrationError(GateError):
    """A calibration cannot be read, written or used."""


class DecodingError(GateError):
    """A JSON document does not have the expected form; the message names the member at fault."""


class EnsembleError(GateError):
    """A teacher ensemble cannot be loaded, or cannot vote on these inputs."""


class TrunkError(GateError):
    """The trunk cannot be made, or does not take inputs of this shape."""


class NeighboursError(GateError):
    """A reference set cannot be loaded or written, or cannot vote on these features."""


class LedgerError(GateError):
    """The ledger was asked for something that it cannot do: an unknown key, a URI that no backend serves."""


class LedgerUnavailable(LedgerError):
    """The store does not answer, or what is there is not a ledger. The same call works again once it does."""


class BadToken(GateError):
    """The token was not signed by this deployment, or is not a token."""


class UnknownIdentity(GateError):
    """The identity that a request shows is not accepted.

    `kind` says why, in one of a few texts, and `detail` more of it. Both are for the operator's log and hold no secret.
    """

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind
        self.detail = detail


class IdentityFileError(GateError):
    """A file of keys or secrets by which identities are verified does not hold what it should."""


class RecordError(GateError):
    """A line of a records file does not hold a record."""
