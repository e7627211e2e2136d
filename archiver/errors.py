"""Exceptions of the owner's and the operator's tools."""

from calpow.puzzle.errors import CalpowError


class ArchiverError(CalpowError):
    """Base class of all errors raised by `calpow.archiver`."""


class AccountError(ArchiverError):
    """An account is not there, or cannot be changed."""


class ArchiveError(ArchiverError):
    """The protected archive cannot be built from these parts."""


class ClassOrderError(ArchiverError):
    """The classes of the data are not in the order of the victim's output, or a file that orders them is wrong."""


class FittingError(ArchiverError):
    """The samples do not tell enough about legitimate use to fit a policy."""


class FolderError(ArchiverError):
    """A folder of payloads cannot be used as it is."""


class LedgerFileError(ArchiverError):
    """A file is no export of a ledger, or a ledger cannot take it over."""


class MeasuringError(ArchiverError):
    """The latency of a victim could not be measured."""


class NetworkError(ArchiverError):
    """The architecture given with `--network` cannot be made, or does not suit teachers."""


class OrderError(ArchiverError):
    """The options of a calibration contradict each other or are out of range."""


class PartitionError(ArchiverError):
    """The training set cannot be divided among this many teachers."""


class RecordsError(ArchiverError):
    """Records cannot be used for a calibration."""


class ReportError(ArchiverError):
    """A calibration cannot be reported on."""


class ServerFailed(ArchiverError):
    """TorchServe did not start, or a model did not load."""


class SimulationError(ArchiverError):
    """The recorded attacks cannot be replayed as requested."""


class TimingError(ArchiverError):
    """The reference client is not installed, or its puzzles take too long for the victim."""


class TraceError(ArchiverError):
    """A recorded trace cannot be read or used."""


class TrainingError(ArchiverError):
    """The ensemble cannot be trained or stored as requested."""
