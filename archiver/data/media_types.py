"""The form in which payload files are sent: the part of the request, and the media type by the suffix in any case.

TorchServe parses a body of type `application/json` before the handler has it, and hands every other file over as bytes.
`calpow predict` has a table of its own, which a test holds against this one.
"""

from pathlib import Path

# The part of a request that holds the payload: TorchServe's name for a body that is not multipart.
BODY = "body"
JSON = "application/json"
BYTES = "application/octet-stream"


def media_type(path: Path) -> str:
    """Return the Content-Type with which a payload file is sent."""
    return JSON if path.name.lower().endswith(".json") else BYTES
