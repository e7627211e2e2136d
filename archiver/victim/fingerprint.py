"""The fingerprint of a victim: what teachers and calibrations know it by."""

import json
import zipfile
from hashlib import sha256
from pathlib import Path

import yaml

from calpow.handler.model_archive import read_manifest

# Members of the manifest that name the code and the weights; the others are names, versions and times.
IDENTIFYING = ("handler", "modelFile", "serializedFile")
# Settings of TorchServe's frontend in a model's configuration: how many workers run, on which devices, how requests
# queue for them. They change no answer of the model to a single request.
FRONTEND_SETTINGS = frozenset(
    {
        "minWorkers",
        "maxWorkers",
        "batchSize",
        "maxBatchDelay",
        "responseTimeout",
        "startupTimeout",
        "deviceType",
        "deviceIds",
        "jobQueueSize",
        "useJobTicket",
        "clientTimeoutInMills",
        "maxRetryTimeoutInSec",
        "useVenv",
    }
)
_BLOCK = 1 << 20


def fingerprint(mar: Path) -> str:
    """Return a hexadecimal SHA-256 of everything in an archive that determines the model's answers.

    That is the names and bytes of all members, but for times and names in MAR-INF, and for the FRONTEND_SETTINGS in
    the configuration: its other settings count, because a handler may read them. Decision 0039. Raises VictimError
    when the file is not a model archive.
    """
    manifest = read_manifest(mar)
    digests: dict[str, object] = {}
    settings: object = None
    with zipfile.ZipFile(mar) as archive:
        for member in archive.infolist():
            if member.filename == manifest.get("configFile"):
                settings = _counted_settings(archive.read(member))
            elif not member.is_dir() and not member.filename.startswith("MAR-INF/"):
                digests[member.filename] = _member_digest(archive, member)
    contents = {
        "manifest": {name: manifest.get(name) for name in IDENTIFYING},
        "members": digests,
        "settings": settings or None,
    }
    return sha256(json.dumps(contents, sort_keys=True, default=str).encode()).hexdigest()


def _member_digest(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    digest = sha256()
    with archive.open(member) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _counted_settings(config: bytes) -> object:
    """Return a configuration's settings without the frontend's, or the digest of its bytes if they cannot be read."""
    try:
        settings = yaml.safe_load(config) or {}
    except (yaml.YAMLError, ValueError):
        return sha256(config).hexdigest()
    if not isinstance(settings, dict):
        return sha256(config).hexdigest()
    return {str(name): value for name, value in settings.items() if name not in FRONTEND_SETTINGS}
