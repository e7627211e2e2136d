"""Independent teachers, as in the paper: a whole network each, trained from scratch on its own partition."""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from calpow.archiver.teachers.checkpoints import Checkpoints
from calpow.archiver.teachers.networks import Architecture
from calpow.archiver.teachers.training_set import TrainingError
from calpow.archiver.teachers.voting import ballots, count_votes

BATCH = 32
LEARNING_RATE = 1e-3

# numpy's arrays travel between processes as bytes, torch's tensors by shared memory, of which containers have little.
_Arrays: TypeAlias = "dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]"


class IndependentTeachers(nn.Module):
    """Networks as one module: inputs float32 `[n, *input_shape]` -> votes int64 `[n, classes]`.

    A plain loop: torch.func.vmap is slower at a batch of 64, and what is exported of it takes only one batch size.
    """

    def __init__(self, networks: Sequence[nn.Module], classes: int) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.classes = classes
        self.eval().requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Vote counts int64 `[n, classes]`."""
        return count_votes(self.ballots(inputs), self.classes)

    def ballots(self, inputs: Tensor) -> Tensor:
        """Each teacher's class for inputs `[n, ...]`: int64 `[teachers, n]`."""
        scores = torch.stack([network(inputs) for network in self.networks])
        return ballots(scores.movedim(2, 0))


def train_networks(
    architecture: Architecture,
    values: Tensor,
    labels: Tensor,
    owners: Tensor,
    teachers: int,
    epochs: int,
    seed: int,
    done: Checkpoints,
) -> IndependentTeachers:
    """Train teacher t on the samples that `owners` int64 `[n]` gives it, and on nothing else.

    As many at once as torch would use threads, each in a process with one: so the result depends neither on their
    number nor on which were in `done`. Raises TrainingError when one learns nothing or cannot be trained.
    """
    states = {teacher: state for teacher in range(teachers) if (state := done.load(_name(teacher))) is not None}
    missing = [teacher for teacher in range(teachers) if teacher not in states]
    orders = ((each, _arrays(values[owners == each], labels[owners == each]), epochs, seed) for each in missing)
    with tqdm(total=teachers, initial=len(states), desc="teachers", unit="teacher", disable=None) as progress:
        for teacher, arrays in _in_processes(architecture, orders):
            states[teacher] = {name: torch.from_numpy(array) for name, array in arrays.items()}
            done.save(_name(teacher), states[teacher])
            progress.update()
    networks = []
    for teacher in range(teachers):
        network = architecture.make()
        network.load_state_dict(states[teacher])
        networks.append(network)
    return IndependentTeachers(networks, architecture.classes)


_Work: TypeAlias = "tuple[int, _Arrays, int, int]"


def _in_processes(architecture: Architecture, orders: Iterator[_Work]) -> Iterator[tuple[int, _Arrays]]:
    """Teachers with their trained state, in the order in which they are done."""
    workers = 1 if torch.cuda.is_available() else torch.get_num_threads()
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin)
    waiting: set[Future[tuple[int, _Arrays]]] = set()
    try:
        # A few at a time: each order carries its samples.
        for order in orders:
            waiting.add(pool.submit(_train_one, architecture, *order))
            if len(waiting) > workers:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in done)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (each.result() for each in done)
    except BrokenProcessPool as problem:
        raise TrainingError(
            "a process that trains teachers was killed, for want of memory perhaps: run the command again, it goes on"
            " where it stopped, with fewer processes at OMP_NUM_THREADS=1"
        ) from problem
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """In each process: one thread, end at once on Ctrl-C, and do not outlive the parent."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _train_one(
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
    except (RuntimeError, ValueError) as problem:  # what layers say to a batch they cannot take
        reason = str(problem).splitlines()[0]
        raise TrainingError(f"teacher {teacher} cannot be trained on {len(inputs)} samples: {reason}") from problem
    _check(teacher, scores)
    return teacher, {name: value.cpu().numpy() for name, value in network.state_dict().items()}


def fit(network: nn.Module, inputs: Tensor, labels: Tensor, epochs: int) -> None:
    """Adam on the cross-entropy, in shuffled batches of nearly equal sizes, with torch's own generator."""
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


def _check(teacher: int, scores: Tensor) -> None:
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
