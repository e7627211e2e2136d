"""Readiness probe: exits with 0 if every archive of TS_LOAD_MODELS has a worker that is ready, on this machine.

The argument is the URL of TorchServe's management API, http://127.0.0.1:8081 by default.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from http import HTTPStatus

MANAGEMENT = "http://127.0.0.1:8081"
SECONDS = 2.0


def reason_to_wait(management: str, model: str) -> str | None:
    """Return why a model cannot answer yet; None if a worker has loaded it. Raises OSError if TorchServe cannot say."""
    try:
        with urllib.request.urlopen(f"{management}/models/{model}", timeout=SECONDS) as response:  # noqa: S310
            workers = json.load(response)[0]["workers"]
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.NOT_FOUND:
            raise
        return "is not there: TorchServe's log says why"
    return None if any(worker["status"] == "READY" for worker in workers) else "has no worker yet"


def main() -> int:
    """Ask TorchServe for each model, and return the exit code."""
    management = sys.argv[1] if len(sys.argv) > 1 else MANAGEMENT
    archives = os.environ.get("TS_LOAD_MODELS", "").split(",")
    models = [archive.strip().removesuffix(".mar") for archive in archives if archive.strip()]
    if not models:
        print("not ready: TS_LOAD_MODELS names no archive: set it as for TorchServe")
        return 1
    try:
        reasons = {model: reason for model in models if (reason := reason_to_wait(management, model))}
    except OSError as error:
        print(f"not ready: TorchServe's management API at {management}: {error}")
        return 1
    for model, reason in reasons.items():
        print(f"not ready: {model} {reason}")
    return 1 if reasons else 0


if __name__ == "__main__":
    sys.exit(main())
