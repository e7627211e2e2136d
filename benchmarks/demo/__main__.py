"""The demo: train, protect, serve, use and attack a model of scikit-learn's optical digits, and compare.

python -m benchmarks.demo            protect, let users and attackers query, compare, stop
python -m benchmarks.demo --serve    protect and leave the server running
"""

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.command_line import command_parser
from benchmarks.demo.comparison import compare
from benchmarks.demo.left_running import serve
from benchmarks.demo.protected_model import CONFIG, HOME, MODEL, ROOT, STORE, is_protected, keep_accounts, protect
from benchmarks.demo.work_picture import draw
from calpow.archiver.server import served
from calpow.client.cli.main import silence_libraries


def main() -> int:
    """Run the demo."""
    parser = command_parser("benchmarks.demo", __doc__)
    parser.add_argument("--serve", action="store_true", help="leave the protected model running")
    serve_only = parser.parse_args().serve
    os.chdir(ROOT)
    HOME.mkdir(exist_ok=True)
    silence_libraries()
    started = time.monotonic()
    if serve_only:
        if not is_protected():
            protect()
        keep_accounts(HOME.resolve())
        serve(HOME / "users")
        return 0
    protect()
    # A new ledger: the accounts of an earlier run would keep their prices.
    with TemporaryDirectory(prefix="calpow-demo-") as fresh:
        keep_accounts(Path(fresh))
        with served({MODEL: STORE / f"{MODEL}.mar", "unprotected": HOME / "victim.mar"}, config=CONFIG) as server:
            records = compare(server, HOME / "users")
    picture = HOME / "work.png"
    draw(records, picture)
    print(f"\nThe same as a picture: {picture}")
    print(f"The server is stopped. All in {time.monotonic() - started:.0f} s.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
