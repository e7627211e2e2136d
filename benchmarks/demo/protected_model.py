"""The model of the demo, as its owner protects it, and the ledger that it is served with."""

import os
from hashlib import sha256
from pathlib import Path

from benchmarks.digits import victim as digits_victim
from calpow.client.cli.main import main as calpow

ROOT = Path(__file__).resolve().parents[2]
# Paths are printed and given to the commands as one would type them in the project's folder.
HOME = Path("demo")
STORE = Path("model_store")
CONFIG = Path("config.properties")
MODEL = "digits"
TEACHERS = 50
# Written when the model is protected, so that it need not be protected again to be served.
PROTECTED = HOME / "protected"
SOURCES = ("puzzle", "handler", "archiver", "benchmarks/digits")


def keep_accounts(folder: Path) -> None:
    """Set the ledger of the server and of this program."""
    os.environ["CALPOW_LEDGER"] = f"sqlite:///{folder / 'ledger.db'}"


def protect() -> None:
    """Protect the model, with the commands that an owner would type."""
    heading("1. A victim: a network on scikit-learn's digits, archived with torch-model-archiver")
    trained = digits_victim.build(HOME)
    print(f"demo/victim.mar reads {trained.accuracy:.1%} of the held-out digits right.")
    data, calibration = HOME / "victim-train", HOME / "calibration"
    victim, teachers, measured = HOME / "victim.mar", HOME / "teachers.pt", HOME / "calibration.json"
    heading("2. Protect it")
    command("teachers", "--victim", victim, "--data", data, "--teachers", str(TEACHERS), "--output", teachers)
    command("calibrate", "--victim", victim, "--ensemble", teachers, "--data", calibration, "--output", measured)
    parts = ("--victim", victim, "--ensemble", teachers, "--calibration", measured)
    command("archive", *parts, "--model-name", MODEL, "--export-path", STORE, "--force")
    PROTECTED.write_text(state())


def is_protected() -> bool:
    """Return whether the archive that this version of the demo makes is there already."""
    return PROTECTED.is_file() and PROTECTED.read_text() == state()


def state() -> str:
    """Return a digest of the archive and of the code that makes it."""
    digest = sha256()
    sources = [file for folder in SOURCES for file in sorted((ROOT / folder).rglob("*.py"))]
    for file in [*sources, Path(__file__), STORE / f"{MODEL}.mar"]:
        digest.update(file.read_bytes() if file.is_file() else b"missing")
    return digest.hexdigest()


def command(*words: str | Path) -> None:
    """Print a calpow command as it would be typed, and run it."""
    typed = [str(word) for word in words]
    print(f"\n$ calpow {' '.join(typed)}", flush=True)
    if calpow(typed) != 0:
        raise SystemExit(1)


def heading(text: str) -> None:
    """Print a heading."""
    print(f"\n{text}\n{'-' * len(text)}", flush=True)
