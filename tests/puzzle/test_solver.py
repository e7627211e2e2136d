"""The solver: right stamps, from the first moment, on all cores, and only as long as the caller wants."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calpow.puzzle.algorithms import ScryptCost
from calpow.puzzle.errors import SolvingCancelled, SolvingTooLong, TooMuchWork
from calpow.puzzle.profiles import PROFILES
from calpow.puzzle.puzzle import MAX_BITS, MAX_RESOURCE_LENGTH, Puzzle
from calpow.puzzle.solving.engines import FAST, MEMORY_HARD, PYTHON, Engine, choose, engines_of, has_fast
from calpow.puzzle.solving.miners import Miner, ScryptMiner, Slice
from calpow.puzzle.solving.process_miner import MinerDied, ProcessMiner
from calpow.puzzle.solving.solver import Progress, mint, solve
from calpow.puzzle.solving.work_queue import Board
from calpow.puzzle.stamp import MAX_STAMP_LENGTH, Stamp

RESOURCE = "5f0c0123456789abcdef0123456789ab"
NEVER = Puzzle("hashcash-sha1", RESOURCE, bits=MAX_BITS, count=16)
NEVER_SCRYPT = Puzzle("scrypt", RESOURCE, bits=MAX_BITS, count=16, cost=ScryptCost(64, 8, 1))

needs_fast = pytest.mark.skipif(not has_fast(), reason="calpow[fast] is not installed")
fast_too = pytest.mark.parametrize("engine", [PYTHON, pytest.param(FAST, marks=needs_fast)], ids=lambda each: each.name)
# Every way in which a puzzle can be solved here, and one that will never be.
WAYS = [
    pytest.param(NEVER, PYTHON, 1, id="python"),
    pytest.param(NEVER, PYTHON, 2, id="python-processes"),
    pytest.param(NEVER, FAST, 1, id="fast", marks=needs_fast),
    pytest.param(NEVER, FAST, 2, id="fast-threads", marks=needs_fast),
    pytest.param(NEVER_SCRYPT, MEMORY_HARD, 1, id="scrypt"),
    pytest.param(NEVER_SCRYPT, MEMORY_HARD, 2, id="scrypt-threads"),
]


def children() -> list[psutil.Process]:
    """The solver's processes; other tests' servers may be among this process' children."""
    return [
        child
        for child in psutil.Process().children()
        if "calpow.puzzle.solving.process_miner" in " ".join(child.cmdline())
    ]


@fast_too
@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["hashcash-sha1", "hashcash-sha256"]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"), min_size=1, max_size=128),
    st.integers(1, 9),
    st.integers(1, 31),
)
def test_what_is_solved_is_accepted(engine: Engine, algorithm: str, resource: str, bits: int, count: int) -> None:
    puzzle = Puzzle(algorithm, resource, bits, count)
    puzzle.verify(mint(puzzle, engine).stamps)


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_is_solved_on_one_core_and_on_all(name: str) -> None:
    puzzle = PROFILES[name].kind.puzzle(64, RESOURCE)
    for engine in engines_of(puzzle.algorithm):
        for workers in (1, 2, 3):
            minted = mint(puzzle, engine, workers=workers)
            puzzle.verify(minted.stamps)
            assert minted.digests >= puzzle.count
            assert minted.seconds > 0


@fast_too
def test_two_solutions_of_one_puzzle_have_no_stamp_in_common(engine: Engine) -> None:
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=1, count=16)
    assert set(mint(puzzle, engine).stamps).isdisjoint(mint(puzzle, engine).stamps)


def test_a_stamp_is_dated_to_the_second() -> None:
    before = time.strftime("%y%m%d%H%M%S", time.gmtime())
    (stamp,) = solve(Puzzle("hashcash-sha1", RESOURCE, bits=1, count=1))
    assert before <= Stamp.parse(stamp).date <= time.strftime("%y%m%d%H%M%S", time.gmtime())


@pytest.mark.parametrize("name", PROFILES)
def test_a_stamp_bears_another_date_if_that_is_wished(name: str) -> None:
    puzzle = PROFILES[name].kind.puzzle(4, RESOURCE)
    for stamp in solve(puzzle, date=datetime(2031, 2, 3, 4, 5, 6, tzinfo=timezone.utc)):
        assert Stamp.parse(stamp).date == "310203040506"


@pytest.mark.parametrize("resource", ["a", "5f0c0123456789ab", RESOURCE, "x" * MAX_RESOURCE_LENGTH])
def test_every_counter_costs_one_block_of_the_hash(resource: str) -> None:
    puzzle = Puzzle("hashcash-sha1", resource, bits=2, count=12)
    for text in mint(puzzle, PYTHON).stamps:
        assert (len(text) - len(Stamp.parse(text).counter)) % 64 == 0
        assert len(text) <= MAX_STAMP_LENGTH


@needs_fast
@pytest.mark.parametrize("resource", ["a", "5f0c0123456789ab", RESOURCE, "x" * MAX_RESOURCE_LENGTH])
def test_every_counter_of_the_fast_solver_fits_into_the_last_block(resource: str) -> None:
    puzzle = Puzzle("hashcash-sha256", resource, bits=2, count=12)
    for text in mint(puzzle, FAST).stamps:
        assert len(text) % 64 == 55  # one byte more, and the message's length would need a block of its own
        assert len(text) <= MAX_STAMP_LENGTH


@needs_fast
@pytest.mark.parametrize("algorithm", ["hashcash-sha1", "hashcash-sha256"])
def test_the_fast_solver_overlooks_nothing(algorithm: str) -> None:
    puzzle = Puzzle(algorithm, RESOURCE, bits=11, count=8)
    digest = puzzle.digest
    for text in mint(puzzle, FAST, workers=1).stamps:
        prefix, number = text[:-7], int(text[-7:].translate(str.maketrans("ABCDEFGHIJKLMNOP", "0123456789abcdef")), 16)
        for earlier in range(number):
            letters = f"{earlier:07x}".translate(str.maketrans("0123456789abcdef", "ABCDEFGHIJKLMNOP"))
            assert int.from_bytes(digest(f"{prefix}{letters}".encode()), "big") >> (8 * len(digest(b"")) - 11)


@needs_fast
def test_what_the_machine_code_finds_is_checked_for_the_bits_beyond_its_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calpow.puzzle.solving.simd_miner.MOST_MASKED", 5)
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=11, count=16)
    puzzle.verify(mint(puzzle, FAST).stamps)


def test_progress_is_told_before_the_first_stamp_and_after_each() -> None:
    told: list[tuple[int, int]] = []
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=1, count=3)
    solve(puzzle, progress=lambda step: told.append((step.found, step.count)))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


@fast_too
def test_progress_estimates_the_time_that_is_left(engine: Engine) -> None:
    told: list[Progress] = []
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=14 if engine is PYTHON else 18, count=31)
    minted = mint(puzzle, engine, workers=1, progress=told.append)
    assert told[0].seconds_left is None
    assert told[-1].seconds_left == 0
    half = told[len(told) // 2]
    assert half.seconds_left is not None
    # 15 stamps are left: within a factor of 4, also on a machine that others slow down meanwhile.
    assert (minted.seconds - half.seconds) / 4 < half.seconds_left < (minted.seconds - half.seconds) * 4


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_can_end_the_work(workers: int) -> None:
    def enough(step: Progress) -> None:
        if step.found >= 2:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        mint(Puzzle("hashcash-sha1", RESOURCE, bits=8, count=31), PYTHON, workers=workers, progress=enough)
    assert children() == []


@pytest.mark.parametrize(("puzzle", "engine", "workers"), WAYS)
def test_the_work_is_cancelled_at_once(puzzle: Puzzle, engine: Engine, workers: int) -> None:
    before = threading.enumerate()
    cancel, cancelled = threading.Event(), list[float]()

    def stop() -> None:
        cancelled.append(time.monotonic())
        cancel.set()

    timer = threading.Timer(0.3, stop)
    timer.start()
    with pytest.raises(SolvingCancelled):
        mint(puzzle, engine, workers=workers, cancel=cancel)
    assert time.monotonic() - cancelled[0] < 0.25
    assert children() == []
    assert set(threading.enumerate()) <= {*before, timer}
    timer.join()


def test_nothing_is_solved_for_who_has_cancelled_before() -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(SolvingCancelled):
        solve(NEVER, cancel=cancel)


@pytest.mark.parametrize(("puzzle", "engine", "workers"), WAYS)
def test_a_puzzle_without_a_chance_within_the_limit_is_given_up_early(
    puzzle: Puzzle, engine: Engine, workers: int
) -> None:
    begun = time.monotonic()
    with pytest.raises(SolvingTooLong, match=r"more than the 30\.0 s allowed") as caught:
        mint(puzzle, engine, workers=workers, max_seconds=30)
    assert time.monotonic() - begun < 5
    assert caught.value.expected_seconds > 60
    assert caught.value.limit == 30
    assert children() == []


def test_the_limit_on_seconds_is_kept() -> None:
    # About 4 million hashes: a second or more of this engine, and not hopeless within 0.6.
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=18, count=16)
    begun = time.monotonic()
    with pytest.raises(SolvingTooLong):
        mint(puzzle, PYTHON, workers=1, max_seconds=0.1)
    assert time.monotonic() - begun < 1


def test_more_work_than_allowed_is_refused_before_any_is_done() -> None:
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=8, count=16)
    told: list[Progress] = []
    with pytest.raises(TooMuchWork, match=r"about 4,096 hashes, more than the limit of 4,095"):
        solve(puzzle, max_hashes=4095, progress=told.append)
    assert told == []
    puzzle.verify(solve(puzzle, max_hashes=4096))


def test_a_puzzle_that_fits_into_the_limit_is_solved() -> None:
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=8, count=16)
    puzzle.verify(solve(puzzle, max_seconds=60))


@pytest.mark.parametrize("kind", ["python", "fast", "scrypt"])
def test_ctrl_c_ends_the_work_and_leaves_no_process(kind: str, tmp_path: Path) -> None:
    if kind == "fast" and not has_fast():
        pytest.skip("calpow[fast] is not installed")
    program = tmp_path / "program.py"
    program.write_text(f"""
from calpow.puzzle.algorithms import ScryptCost
from calpow.puzzle.solving.engines import FAST, MEMORY_HARD, PYTHON
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.solver import mint

sha1, scrypt = Puzzle("hashcash-sha1", "5f0c", 40, 4), Puzzle("scrypt", "5f0c", 40, 4, ScryptCost(64, 8, 1))
puzzle, engine = {{"python": (sha1, PYTHON), "fast": (sha1, FAST), "scrypt": (scrypt, MEMORY_HARD)}}[{kind!r}]
try:
    mint(puzzle, engine, workers=3, progress=lambda step: print("begun", flush=True))
except KeyboardInterrupt:
    print("interrupted", flush=True)
""")
    with subprocess.Popen(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(0.4)
        helpers = psutil.Process(process.pid).children()
        assert len(helpers) == (2 if kind == "python" else 0)
        begun = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        out, err = process.communicate(timeout=20)
    assert time.monotonic() - begun < 2
    assert (out, err, process.returncode) == ("interrupted\n", "", 0)
    assert not any(helper.is_running() for helper in helpers)


def test_processes_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("""
from calpow.puzzle.solving.engines import PYTHON
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.solver import mint

mint(Puzzle("hashcash-sha1", "5f0c", 40, 4), PYTHON, workers=3, progress=lambda step: print("begun", flush=True))
""")
    with subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.4)
        helpers = psutil.Process(process.pid).children()
        assert len(helpers) == 2
        process.kill()
    _, alive = psutil.wait_procs(helpers, timeout=10)
    assert alive == []


def test_a_program_without_a_main_guard_is_not_run_twice(tmp_path: Path) -> None:
    here, program = tmp_path / "here", tmp_path / "there" / "program.py"
    here.mkdir()
    program.parent.mkdir()
    program.write_text("""
from calpow.puzzle.solving.engines import PYTHON
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.solver import mint

print("imported")
puzzle = Puzzle("hashcash-sha1", "5f0c", 15, 16)
puzzle.verify(mint(puzzle, PYTHON, workers=2).stamps)
""")
    (here / "json.py").write_text("open('taken-for-a-module', 'w')")
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, cwd=here, check=True)
    assert done.stdout == "imported\n"
    assert [file.name for file in here.iterdir()] == ["json.py"]


def test_helpers_that_cannot_be_started_make_it_slower_and_no_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=8, count=16)
    for executable in ("/nonexistent", "/bin/false", ""):
        monkeypatch.setattr(sys, "executable", executable)
        puzzle.verify(mint(puzzle, PYTHON, workers=3).stamps)
        assert children() == []


def test_a_path_that_holds_more_than_text_is_handed_to_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, Path("/nonexistent")])
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=4, count=4)
    puzzle.verify(mint(puzzle, PYTHON, workers=2).stamps)


def test_a_frozen_program_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=4, count=4)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(MinerDied, match="frozen"):
        ProcessMiner(puzzle, "260101000000")
    puzzle.verify(mint(puzzle, PYTHON, workers=2).stamps)


def test_threads_that_cannot_be_started_make_it_slower_and_no_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for engine, cost in ((PYTHON, None), (MEMORY_HARD, ScryptCost(2, 1, 1))):
        puzzle = Puzzle("hashcash-sha1" if cost is None else "scrypt", RESOURCE, bits=4, count=4, cost=cost)
        puzzle.verify(mint(puzzle, engine, workers=3).stamps)
        assert children() == []


class Idle:
    """A miner that finds nothing: what is found is found by others."""

    def mine(self, ext: int, seconds: float) -> Slice:
        time.sleep(seconds)
        return Slice(None, 0)


def test_processes_do_their_share() -> None:
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=8, count=16)
    engine = Engine("idle", lambda puzzle, date: Idle(), by_process=True, worth_sharing=0)
    puzzle.verify(mint(puzzle, engine, workers=3).stamps)


def test_threads_do_their_share() -> None:
    puzzle = Puzzle("scrypt", RESOURCE, bits=3, count=16, cost=ScryptCost(64, 8, 1))

    def make(puzzle: Puzzle, date: str) -> Miner:
        made.append(puzzle)
        return Idle() if len(made) == 1 else ScryptMiner(puzzle, date)

    made: list[Puzzle] = []
    engine = Engine("idle", make, by_process=False, worth_sharing=0)
    puzzle.verify(mint(puzzle, engine, workers=3).stamps)
    assert len(made) == 3


@pytest.mark.parametrize("name", PROFILES)
def test_threads_can_solve_at_the_same_time(name: str) -> None:
    puzzles = [PROFILES[name].kind.puzzle(100, f"{RESOURCE}{number}") for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        for puzzle, stamps in zip(puzzles, threads.map(lambda each: solve(each, workers=2), puzzles), strict=True):
            puzzle.verify(stamps)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this machine has no fork")
@pytest.mark.parametrize("name", PROFILES)
def test_a_forked_process_can_solve_whatever_its_parent_was_doing(name: str) -> None:
    puzzle = PROFILES[name].kind.puzzle(100, RESOURCE)
    engine = engines_of(puzzle.algorithm)[-1]
    mint(puzzle, engine)
    stop = threading.Event()
    busy = threading.Thread(target=_solve_until, args=(puzzle, engine, stop))
    busy.start()
    child = multiprocessing.get_context("fork").Process(target=_solve_once, args=(puzzle, engine))
    child.start()
    child.join(30)
    stop.set()
    busy.join()
    assert child.exitcode == 0


def _solve_until(puzzle: Puzzle, engine: Engine, stop: threading.Event) -> None:
    while not stop.is_set():
        mint(puzzle, engine, workers=2)


def _solve_once(puzzle: Puzzle, engine: Engine) -> None:
    puzzle.verify(mint(puzzle, engine, workers=2).stamps)


def test_a_small_puzzle_starts_well_under_a_millisecond() -> None:
    def seconds() -> float:
        start = time.perf_counter()
        solve(Puzzle("hashcash-sha1", RESOURCE, bits=1, count=1))
        return time.perf_counter() - start

    assert min(seconds() for _ in range(50)) < 0.0005


def test_small_puzzles_stay_in_this_process_on_one_core() -> None:
    puzzle = Puzzle("hashcash-sha1", RESOURCE, bits=10, count=18)
    assert [engine.workers(puzzle) for engine in (PYTHON, FAST)] == [1, 1]


@needs_fast
def test_the_compiler_is_loaded_once_it_pays_and_not_before() -> None:
    program = """
import sys
from calpow.puzzle.solving.engines import FAST, PYTHON, choose
from calpow.puzzle.puzzle import Puzzle

small, large = Puzzle("hashcash-sha1", "5f0c", 10, 16), Puzzle("hashcash-sha1", "5f0c", 20, 16)
assert choose(small) is PYTHON
assert "llvmlite" not in sys.modules
chosen = [choose(small) for _ in range(200)]
assert chosen[0] is PYTHON and chosen[-1] is FAST, "many small puzzles add up"
assert choose(large) is FAST
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@needs_fast
def test_the_time_that_compiling_takes_says_nothing_of_a_puzzle() -> None:
    program = """
from calpow.puzzle.solving.engines import FAST, choose
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.solver import solve

puzzle = Puzzle("hashcash-sha1", "5f0c", 21, 16)
assert choose(puzzle) is FAST
puzzle.verify(solve(puzzle, max_seconds=20))
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_without_the_extra_everything_is_solved_in_python() -> None:
    program = """
import sys
sys.modules["llvmlite"] = None
from calpow.puzzle.solving.engines import PYTHON, choose
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.solver import solve

puzzle = Puzzle("hashcash-sha1", "5f0c", 18, 16)
assert choose(puzzle) is PYTHON
puzzle.verify(solve(puzzle))
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@needs_fast
def test_where_no_machine_code_can_be_made_everything_is_solved_in_python() -> None:
    program = """
import llvmlite.binding
from calpow.puzzle.solving.engines import PYTHON, choose
from calpow.puzzle.puzzle import Puzzle

def refuse(*arguments):
    raise RuntimeError("no executable memory")

llvmlite.binding.create_mcjit_compiler = refuse
assert choose(Puzzle("hashcash-sha256", "5f0c", 20, 16)) is PYTHON
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_engine_is_chosen_for_every_profile() -> None:
    for profile in PROFILES.values():
        assert choose(profile.kind.puzzle(100, RESOURCE)) in engines_of(profile.kind.algorithm)


def test_idle_workers_join_where_fewest_are() -> None:
    board = Board(3)
    assert [board.take(None) for _ in range(4)] == [0, 1, 2, 0]
    board.put(1, Slice("stamp", 5))
    assert board.take(0) == 0
    assert board.take(1) == 2
    board.put(2, Slice("two", 1))
    board.put(2, Slice("too late", 1))
    board.put(0, Slice("zero", 1))
    assert board.take(2) is None
    assert board.stamps == ["zero", "stamp", "two"]
    assert board.digests == 8
