"""A resnet18 protected as an owner does it: time of `calpow calibrate` by phase, and what honest users then wait.

python -m benchmarks.resnet

Builds a resnet18 with TorchServe's image_classifier and 1,000 JPEG files of 256 x 256 below --folder, without a
network, trains teachers, calibrates, packages, and lets users query it with and without the gate. It took 20 minutes on
two cores that other programs used as well, and should take six on idle ones. TorchServe's workers use one thread each,
both where calibrate times them and where users query them; calibrate itself takes as many as make it fast.
"""

import os
import random
import statistics
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import requests

from benchmarks.command_line import command_parser
from benchmarks.resnet import NAME
from benchmarks.resnet.phases import TimedRun, run_timed
from benchmarks.serving.prepay import User, measure, table
from calpow.puzzle.errors import CalpowError

FOLDER = Path(__file__).resolve().parents[2] / "demo" / "resnet"
SAMPLES = 1_000
SEED = 7
# Goals: seconds of calibrate, and the multiples of the unprotected time of prepaid and of challenged answers.
MOST_SECONDS, MOST_PREPAID, MOST_CHALLENGED = 120.0, 1.3, 2.0


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = command_parser("benchmarks.resnet", __doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"where to build and keep everything ({FOLDER})")
    parser.add_argument("--samples", type=int, default=SAMPLES, help=f"payloads to calibrate with ({SAMPLES:,})")
    parser.add_argument("--calibrate-only", action="store_true", help="leave out the users")
    args = parser.parse_args(words)
    folder: Path = args.folder.resolve()
    if not _is_ours(folder):
        parser.error(f"{folder} holds other files, which could be overwritten: give a new folder")
    begun = time.monotonic()
    # For TorchServe's workers; the command of an owner who follows docs/operating.md has it, too.
    os.environ["OMP_NUM_THREADS"] = "1"
    busy = psutil.cpu_percent(1.0)
    victim = _built(folder, args.samples)
    calibrated = protect(victim, folder)
    print(f"\ncalibrate, {args.samples:,} samples; other programs used {busy:.0f} % of {os.cpu_count()} cores before:")
    print("\n".join([*calibrated.table(), f"  goal: at most {MOST_SECONDS:.0f} s"]))
    if not args.calibrate_only:
        try:
            for think, users in measure(victim, folder / "protected.mar", _payloads(folder)):
                print("\n".join([*table(think, users), *multiples(users)]), flush=True)
        except (CalpowError, requests.RequestException) as problem:
            parser.error(str(problem))
    print(f"All in {time.monotonic() - begun:.0f} s; kept below {folder}.")
    return 0


def protect(victim: Path, folder: Path) -> TimedRun:
    """Protect a victim with the commands that an owner would type; return the times of calibrate."""
    teachers, measured = folder / "teachers.pt", folder / "calibration.json"
    parts = ("--victim", victim, "--ensemble", teachers)
    _command("teachers", "--victim", victim, "--data", folder / "train", "--output", teachers)
    calibrated = _command("calibrate", *parts, "--data", folder / "held-out", "--output", measured)
    _command(
        "archive", *parts, "--calibration", measured, "--model-name", "protected", "--export-path", folder, "--force"
    )
    return calibrated


def multiples(users: Sequence[User]) -> list[str]:
    """Return a line for each user who pays: the median time in multiples of the first user's, who does not."""
    plain, *paying = (statistics.median(user.seconds) for user in users)
    goals = (MOST_CHALLENGED, MOST_PREPAID)
    return [
        f"  {user.name:28} {seconds / plain:6.2f}x (goal: at most {goal:g}x)"
        for user, seconds, goal in zip(users[1:], paying, goals, strict=True)
    ]


def _is_ours(folder: Path) -> bool:
    """Return whether a folder is new, empty, or one in which an earlier run has built its victim."""
    return (folder / f"{NAME}.mar").exists() or not folder.exists() or not any(folder.iterdir())


def _built(folder: Path, samples: int) -> Path:
    # Imported here: torch takes seconds, which --help need not wait for.
    from benchmarks.resnet.victim import build

    print(f"building the victim and its payloads below {folder} ...", flush=True)
    return build(folder, samples)


def _payloads(folder: Path) -> list[bytes]:
    files = sorted((folder / "users").rglob("*.jpg"))
    random.Random(SEED).shuffle(files)
    return [file.read_bytes() for file in files]


def _command(*words: str | Path) -> TimedRun:
    """Print a calpow command as it would be typed, and run it."""
    typed = [str(word) for word in words]
    print(f"\n$ calpow {' '.join(typed)}", flush=True)
    calpow = Path(sysconfig.get_path("scripts")) / "calpow"
    return run_timed([sys.executable, str(calpow), *typed], os.environ)


if __name__ == "__main__":
    raise SystemExit(main())
