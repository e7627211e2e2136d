"""The command `calpow`: its commands, its help, and one line for every failure."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import resolve_name

import click
import pytest

from calpow.client.cli.main import COMPLETION_VARIABLE, main
from calpow.puzzle.installation import install_command
from tests.support.command_line import error_line
from tests.support.pow_server import PowServer
from tests.support.saved_responses import header_value

TABLES = [table for entry_point in entry_points(group="calpow.commands") for table in entry_point.load()]


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("calpow ")


@pytest.mark.parametrize(
    ("arguments", "option", "help_hint"),
    [
        ([], "Missing command", "calpow --help"),
        (["no-such-command"], "No such command 'no-such-command'", "calpow --help"),
        (["--no-such-option"], "--no-such-option", "calpow --help"),
        (["predict"], "'URL'", "calpow predict --help"),
        (["predict", "http://x"], "'FILE...'", "calpow predict --help"),
        (["predict", "http://x", "a", "--jobs", "0"], "--jobs", "calpow predict --help"),
        (["predict", "http://x", "a", "--jobs", "many"], "--jobs", "calpow predict --help"),
        (["predict", "http://x", "a", "--jobbs", "1"], "--jobbs", "calpow predict --help"),
        (["solve", "no-such-file"], "File 'no-such-file' does not exist", "calpow solve --help"),
    ],
)
def test_bad_usage_is_one_line_that_names_the_option_and_the_help(
    arguments: list[str], option: str, help_hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert option in error_line(err)
    assert error_line(err).endswith(f" (see {help_hint})")


def test_the_help_lists_every_command_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name, _, summary in TABLES:
        assert f"{name} " in out
        assert summary in " ".join(out.split())


@pytest.mark.parametrize(("name", "target", "summary"), TABLES)
def test_every_command_in_a_table_is_a_command_with_an_example(
    name: str, target: str, summary: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = resolve_name(target)
    assert isinstance(command, click.Command)
    assert command.name == name
    assert summary.endswith(".")
    assert main([name, "--help"]) == 0
    assert "Example" in capsys.readouterr().out


def test_the_help_imports_no_command_and_no_large_package() -> None:
    code = (
        "import sys; from calpow.client.cli.main import main; main(['--help']); "
        "print(*(name for name in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    imported = set(done.stderr.split())
    commands = {target.partition(":")[0] for _, target, _ in TABLES}
    assert imported.isdisjoint(commands | {"torch", "numpy", "scipy", "requests", "tqdm", "calpow.handler"})
    assert "calpow.client.cli.main" in imported


@pytest.mark.parametrize("command", ["predict", "solve", "puzzle-cost"])
def test_the_consumer_s_commands_need_nothing_of_the_owner(command: str) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'numpy', 'scipy', 'ts'): sys.modules[name] = None\n"
        "from calpow.client.cli.main import main\n"
        f"code = main(['{command}', '--help'])\n"
        "assert not any(name.startswith('calpow.handler') for name in sys.modules)\n"
        "sys.exit(code)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


PLUGIN = """
import click
COMMANDS = (("train", "{module}:train", "Train."),)
@click.command()
def train():
    {body}
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, **modules: str) -> None:
    """Install a distribution whose modules each have a table `COMMANDS`."""
    metadata = folder / "plugins-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plugins\nVersion: 1.0\n")
    lines = [f"{module} = {module}:COMMANDS" for module in modules]
    (metadata / "entry_points.txt").write_text("\n".join(["[calpow.commands]", *lines]))
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source.replace("{module}", module))
    monkeypatch.syspath_prepend(str(folder))


def test_a_package_that_is_installed_adds_its_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, with_commands=PLUGIN.replace("{body}", "return 7"))
    assert main(["train"]) == 7


def test_a_command_without_its_packages_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    install(tmp_path, monkeypatch, lacking_torchvision=PLUGIN.replace("{body}", "import torchvision.transforms"))
    assert main(["train"]) == 2
    assert error_line(capsys.readouterr().err) == f"this command needs torchvision: {install_command('owner')}"


def test_a_missing_module_that_calpow_does_not_require_is_named_without_advice_to_install_calpow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, monkeypatch, lacking_codec=PLUGIN.replace("{body}", "import no_such_codec"))
    assert main(["train"]) == 2
    assert error_line(capsys.readouterr().err).startswith("the module no_such_codec is not installed here")


@pytest.mark.parametrize("command", ["teachers", "neighbours", "calibrate", "archive"])
def test_without_torch_the_owner_s_commands_say_what_to_install(command: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "file").touch()
    required = {
        "teachers": ["--victim", "file", "--data", "data", "--output", "t.pt2"],
        "neighbours": ["--victim", "file", "--data", "data", "--output", "n.pt"],
        "calibrate": ["--victim", "file", "--data", "data", "--scores", "gap"],
        "archive": ["--victim", "file", "--calibration", "file"],
    }
    code = "import sys; sys.modules['torch'] = None; from calpow.client.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, command, *required[command]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert error_line(done.stderr) == f"this command needs torch: {install_command('owner')}"


def test_a_package_that_cannot_be_imported_leaves_the_others_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = PLUGIN.replace("{body}", "return 7")
    monkeypatch.setitem(sys.modules, "torchvision", None)
    install(tmp_path, monkeypatch, broken="import torchvision", sound_module=sound)
    assert main(["train"]) == 7
    assert main(["teach"]) == 2
    assert error_line(capsys.readouterr().err) == f"this command needs torchvision: {install_command('owner')}"


def test_a_fault_of_ours_is_one_line_that_is_not_blamed_on_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, monkeypatch, with_a_fault=PLUGIN.replace("{body}", "import calpow.no_such_module"))
    assert main(["train"]) == 2
    line = error_line(capsys.readouterr().err)
    assert line.startswith("internal error, ModuleNotFoundError: No module named 'calpow.no_such_module'")
    assert "pip install" not in line


@pytest.mark.parametrize("arguments", [["solve", "no-such-file"], ["train"], ["solve", "--header", "x"]])
def test_debug_shows_the_traceback_before_the_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, monkeypatch, that_divides=PLUGIN.replace("{body}", "1 / 0"))
    assert main(arguments) == 2
    line = error_line(capsys.readouterr().err)
    assert main(["--debug", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.endswith(f"calpow: {line}\n")


@pytest.mark.skipif(shutil.which("sh") is None, reason="there is no shell here")
@pytest.mark.parametrize(
    ("line", "code", "out", "err"),
    [
        ("predict $URL $FILE >&-", 0, b"", ""),
        (
            "predict $URL $FILE $FILE.not >&-",
            2,
            b"",
            "calpow: 2 files: 1 answered, 0 refused, 1 not sent (see the lines above)",
        ),
        ("predict $URL $FILE 2>&-", 0, b"payload", ""),
        ("solve - <&-", 2, b"", "calpow: a challenge must be a JSON object"),
    ],
)
def test_a_closed_standard_stream_is_dev_null(line: str, code: int, out: bytes, err: str, server: PowServer) -> None:
    Path("file").write_bytes(b"payload")
    variables = {**os.environ, "URL": f"{server.url}/free", "FILE": "file"}
    command = f"{sys.executable} -m calpow.client {line}"
    done = subprocess.run(["sh", "-c", command], env=variables, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (code, out)
    assert done.stderr.decode().startswith(err)
    assert done.stderr.count(b"\n") == (err != "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
@pytest.mark.parametrize("arguments", ["--version", 'solve --header "$HEADER"'])
def test_output_that_cannot_be_written_is_one_line_also_where_it_is_buffered(arguments: str, server: PowServer) -> None:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    variables["HEADER"] = header_value(server.challenge())
    command = f"{sys.executable} -m calpow.client {arguments} >/dev/full"
    done = subprocess.run(["sh", "-c", command], env=variables, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, error_line(done.stderr)) == (2, "No space left on device")


def completions(*words: str) -> Iterator[str]:
    """Yield what the shell would offer for the last of the words."""
    variables = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1), COMPLETION_VARIABLE: "bash_complete"}
    command = [sys.executable, "-m", "calpow.client"]
    done = subprocess.run(command, env=os.environ | variables, check=True, capture_output=True, text=True)
    assert done.stderr == ""
    for line in done.stdout.splitlines():
        yield line.partition(",")[2]


def test_a_shell_completes_commands_options_and_choices() -> None:
    assert list(completions("calpow", "ca")) == ["calibrate"]
    assert list(completions("calpow", "solve", "--max-")) == ["--max-hashes", "--max-seconds"]
    assert list(completions("calpow", "calibrate", "--scores", "en")) == ["entropy", "energy"]
    assert list(completions("calpow", "keys", "re")) == ["revoke"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="the shell bash is not installed")
def test_bash_completes_with_the_script_that_the_command_prints(tmp_path: Path) -> None:
    program = tmp_path / "calpow"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m calpow.client "$@"\n')
    program.chmod(0o755)
    script = f"""
        PATH={tmp_path}:$PATH
        eval "$({COMPLETION_VARIABLE}=bash_source calpow)"
        complete -p calpow
        COMP_WORDS=(calpow puzzle) COMP_CWORD=1
        _calpow_completion calpow
        echo "offered: ${{COMPREPLY[*]}}"
    """
    done = subprocess.run(["bash", "--norc", "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "offered: puzzle-cost"
    assert "-F _calpow_completion calpow" in done.stdout
    assert done.stderr == ""


THREAD = "import threading, time; threading.Thread(target=time.sleep, args=(600,)).start(); print('done'); return 3"
PROCESS = (
    "import multiprocessing, time\n"
    "    multiprocessing.get_context('fork').Process(target=time.sleep, args=(600,)).start(); print('done'); return 3"
)


@pytest.mark.parametrize("left_behind", [THREAD, PROCESS])
def test_a_command_ends_although_threads_or_processes_that_it_ran_into_do_not(
    left_behind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, that_stays=PLUGIN.replace("{body}", left_behind))
    done = run_installed(tmp_path, "train")
    assert (done.returncode, done.stdout, done.stderr) == (3, "done\n", "")


NOISE = (
    "import logging, warnings; warnings.warn('torch is deprecated', FutureWarning);"
    " logging.getLogger('ts').warning('no accelerator'); logging.error('a library fails'); return 0"
)


def test_warnings_and_log_lines_of_libraries_stay_off_the_terminal_unless_debugging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, that_is_noisy=PLUGIN.replace("{body}", NOISE))
    assert run_installed(tmp_path, "train").stderr == ""
    debugged = run_installed(tmp_path, "--debug", "train").stderr
    for text in ("torch is deprecated", "no accelerator", "a library fails"):
        assert text in debugged


def test_a_solver_that_does_not_work_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "import warnings; from calpow.puzzle.errors import SlowSolverWarning;" + (
        " [warnings.warn('solving is slow', SlowSolverWarning) for _ in range(2)]; return 0"
    )
    install(tmp_path, monkeypatch, that_is_slow=PLUGIN.replace("{body}", body))
    assert error_line(run_installed(tmp_path, "train").stderr) == "warning: solving is slow"


def run_installed(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `calpow` in a process that finds what is installed in the folder."""
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-m", "calpow.client", *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
