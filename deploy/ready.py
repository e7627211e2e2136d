"""Readiness probe: exits with 0 if every archive of TS_LOAD_MODELS has a worker that is ready, in this container.

The argument is the URL of TorchServe's management API, http://127.0.0.1:8081 by default.
"""

import json
import os
import sys
import urllib.request

MANAGEMENT = "http://127.0.0.1:8081"
SECONDS = 2.0


def has_worker(management: str, model: str) -> bool:
    """Return whether a worker has loaded the model. Raises OSError if TorchServe cannot say."""
    with urllib.request.urlopen(f"{management}/models/{model}", timeout=SECONDS) as response:  # noqa: S310
        return any(worker["status"] == "READY" for worker in json.load(response)[0]["workers"])


def main() -> int:
    """Ask TorchServe for each model, and return the exit code."""
    management = sys.argv[1] if len(sys.argv) > 1 else MANAGEMENT
    models = [archive.strip().removesuffix(".mar") for archive in os.environ["TS_LOAD_MODELS"].split(",")]
    try:
        waiting = [model for model in models if not has_worker(management, model)]
    except OSError as error:
        print(f"not ready: {error}")
        return 1
    for model in waiting:
        print(f"not ready: {model} has no worker yet")
    return 1 if waiting else 0


if __name__ == "__main__":
    sys.exit(main())
