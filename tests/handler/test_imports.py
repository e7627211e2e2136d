"""A protected archive brings `handler` and `puzzle`; a worker has nothing else but TorchServe and torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from calpow.handler import torchserve
from calpow.puzzle import stamp

HANDLER, PUZZLE = (Path(str(module.__file__)).parent for module in (torchserve, stamp))
# TorchServe brings Pillow.
WORKER = {"numpy", "torch", "ts", "PIL"}
# Only this module, which is imported for a ledger in Redis alone, needs redis-py.
REDIS = HANDLER / "ledger" / "redis" / "redis_client.py"
# Only these, which are imported where tokens identify accounts, need PyJWT.
JWT = {HANDLER / "identity" / name for name in ("key_set.py", "token_verifier.py")}
# An extra of the client, which the gate does not import.
SOLVING = PUZZLE / "solving"


def imported(file: Path) -> Iterator[str]:
    """Yield the names of the modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, file
            yield str(node.module)


def gate_files() -> list[Path]:
    return [file for room in (HANDLER, PUZZLE) for file in room.rglob("*.py") if SOLVING not in file.parents]


def test_a_worker_needs_only_the_standard_library_torch_and_torchserve() -> None:
    files = gate_files()
    assert len(files) > 60
    for file in files:
        for name in imported(file):
            package = name.split(".")[0]
            if package == "redis":
                assert file == REDIS
            elif package == "jwt":
                assert file in JWT
            elif package != "calpow":
                assert package in sys.stdlib_module_names or (package in WORKER and HANDLER in file.parents), file
            elif PUZZLE in file.parents:
                assert name.startswith("calpow.puzzle."), file
            else:
                assert name.startswith(("calpow.handler.", "calpow.puzzle.")), file


def test_the_gate_imports_no_solver() -> None:
    for file in gate_files():
        assert not any(name.startswith("calpow.puzzle.solving") for name in imported(file)), file


def test_redis_is_imported_for_a_ledger_in_redis_only() -> None:
    importers = [file for file in gate_files() if "calpow.handler.ledger.redis.redis_client" in imported(file)]
    assert {file.name for file in importers} == {"redis_ledger.py", "redis_settings.py"}
    program = (
        "import sys; from calpow.handler import torchserve; from calpow.handler.ledger.uri import open_ledger;"
        "open_ledger('sqlite:////nowhere/ledger.db'); print('redis' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"


def test_pyjwt_is_imported_where_tokens_identify_accounts_only() -> None:
    program = (
        "import sys; from calpow.handler import torchserve;"
        "from calpow.handler.identity.identification import Identification;"
        "from calpow.handler.identity.ways import IdentityWay as Way;"
        "Identification.load((Way.key, Way.proxy, Way.anonymous), {'CALPOW_PROXY_SECRET': 's' * 16});"
        "print('jwt' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"
