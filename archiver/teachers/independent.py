"""Training of independent teachers, as in the paper: networks trained from scratch, one on each partition."""

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from calpow.archiver.errors import TrainingError
from calpow.archiver.progress import progress
from calpow.archiver.teachers.checkpoints import Checkpoints
from calpow.archiver.teachers.networks import Architecture
from calpow.handler.leakage.teachers.heads import NetworkEnsemble

BATCH = 32
LEARNING_RATE = 1e-3

# Between processes, numpy arrays are sent as bytes; tensors would need shared memory, of which containers have little.
_Arrays: TypeAlias = "dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]"


def train_networks(
    architecture: Architecture,
    values: Tensor,
    labels: Tensor,
    owners: Tensor,
    teachers: int,
    epochs: int,
    seed: int,
    checkpoints: Checkpoints,
) -> NetworkEnsemble:
    """Train each teacher on its own samples alone; `owners` int64 `[n]` holds each sample's teacher.

    Teachers in `checkpoints` are not trained again. As many are trained at once as torch would use threads, in
    processes of one thread, so that the result depends neither on their number nor on `checkpoints`. Raises
    TrainingError when a network cannot be trained or learns nothing.
    """
    states = {teacher: state for teacher in range(teachers) if (state := checkpoints.load(_name(teacher))) is not None}
    missing = [teacher for teacher in range(teachers) if teacher not in states]
    tasks = (
        (teacher, _arrays(values[owners == teacher], labels[owners == teacher]), epochs, seed) for teacher in missing
    )
    with progress("teachers", "teacher", teachers, done=len(states)) as advance:
        for teacher, arrays in _train_in_processes(architecture, tasks):
            states[teacher] = {name: torch.from_numpy(array) for name, array in arrays.items()}
            checkpoints.save(_name(teacher), states[teacher])
            advance(1)
    return NetworkEnsemble([_load(architecture, states[teacher]) for teacher in range(teachers)], architecture.classes)


def _load(architecture: Architecture, state: Mapping[str, Tensor]) -> nn.Module:
    network = architecture.make()
    network.load_state_dict(state)
    return network


# Teacher, samples, epochs and seed.
_Task: TypeAlias = "tuple[int, _Arrays, int, int]"


def _train_in_processes(architecture: Architecture, tasks: Iterator[_Task]) -> Iterator[tuple[int, _Arrays]]:
    """Yield teachers with their trained state, in the order in which they finish."""
    workers = 1 if torch.cuda.is_available() else torch.get_num_threads()
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _prepare_process)
    waiting: set[Future[tuple[int, _Arrays]]] = set()
    try:
        # A few at a time: each task carries its samples.
        for task in tasks:
            waiting.add(pool.submit(_train_network, architecture, *task))
            if len(waiting) > workers:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BrokenProcessPool as problem:
        raise TrainingError(
            "a process that trains teachers was killed, perhaps for lack of memory: run the command again, it continues"
            " where it stopped; OMP_NUM_THREADS=1 makes it use fewer processes"
        ) from problem
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare_process() -> None:
    """Set up a training process: one thread, end at once on Ctrl-C, never outlive the parent."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = parent_process()
    assert parent is not None

    def exit_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=exit_with_parent, daemon=True).start()


def _train_network(
    architecture: Architecture, teacher: int, samples: _Arrays, epochs: int, seed: int
) -> tuple[int, _Arrays]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(int(np.random.SeedSequence([seed, teacher]).generate_state(1, np.uint64)[0] >> 1))
    inputs = torch.from_numpy(samples["inputs"]).to(device)
    labels = torch.from_numpy(samples["labels"]).to(device)
    network = architecture.make().to(device)
    try:
        fit(network, inputs, labels, epochs)
        scores = _scores(network, inputs)
    except (RuntimeError, ValueError) as problem:  # raised by layers for a batch that they cannot take
        reason = str(problem).splitlines()[0]
        raise TrainingError(f"teacher {teacher} cannot be trained on {len(inputs)} samples: {reason}") from problem
    _check_scores(teacher, scores)
    return teacher, {name: value.cpu().numpy() for name, value in network.state_dict().items()}


def fit(network: nn.Module, inputs: Tensor, labels: Tensor, epochs: int) -> None:
    """Minimise the cross-entropy with Adam on batches of nearly equal size, shuffled with torch's own generator."""
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    network.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(inputs)).to(inputs.device).tensor_split(-(-len(inputs) // BATCH)):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs[batch]), labels[batch]).backward()  # type: ignore[no-untyped-call]  # torch
            optimizer.step()
    network.eval()


def _scores(network: nn.Module, inputs: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.cat([network(batch) for batch in torch.split(inputs, BATCH)])


def _check_scores(teacher: int, scores: Tensor) -> None:
    if not bool(torch.isfinite(scores).all()):
        raise TrainingError(
            f"teacher {teacher} gives NaN or infinite scores after its training: mend the network, or scale its inputs"
        )
    if len(scores) > 1 and bool((scores == scores[:1]).all()):
        raise TrainingError(
            f"teacher {teacher} gives the same scores for all its {len(scores)} samples: take another --network,"
            " --epochs or --seed"
        )


def _arrays(inputs: Tensor, labels: Tensor) -> _Arrays:
    return {"inputs": inputs.numpy(), "labels": labels.numpy()}


def _name(teacher: int) -> str:
    return f"teacher-{teacher:05d}"
