"""The calibration file: a JSON object with the members `schema`, `policy`, `measurement` and `rehearsal`.

A worker reads `policy` only; the other two are for the owner's commands.
"""

from collections.abc import Mapping
from pathlib import Path

from calpow.handler.errors import CalibrationError, DecodingError
from calpow.handler.json_documents import decode, parse_object
from calpow.handler.policy.calibrated_policy import CalibratedPolicy
from calpow.handler.policy.validation import AGAIN, check_policy
from calpow.puzzle.errors import PuzzleError

SCHEMA = 9


def load_policy(path: Path) -> CalibratedPolicy:
    """Return the policy of a calibration file, checked. Raises CalibrationError, whose text is one line."""
    document = read_calibration(path)
    try:
        policy = decode(CalibratedPolicy, document.get("policy"), "policy")
    except (DecodingError, PuzzleError) as error:
        raise CalibrationError(f"{path}: {error}: {AGAIN}") from error
    check_policy(policy)
    return policy


def read_calibration(path: Path) -> Mapping[str, object]:
    """Return the JSON object of a calibration file of this schema. Raises CalibrationError, whose text is one line."""
    try:
        return parse_object(path.read_text(encoding="utf-8"), SCHEMA, str(path))
    except FileNotFoundError:
        raise CalibrationError(f"{path} does not exist: make it with calpow calibrate") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(f"{path} is not a calibration ({error}): {AGAIN}") from error
    except DecodingError as error:
        raise CalibrationError(f"{error}: {AGAIN}") from error
