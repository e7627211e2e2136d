"""From teachers' scores to votes: what every ensemble's exported program ends with."""

import torch
from torch import Tensor


def ballots(scores: Tensor) -> Tensor:
    """Each teacher's class, the first of those that tie: scores float32 `[classes, ...]` -> int64 `[...]`.

    The classes come first and there is no argmax: along a short axis of many values it takes six times as long.
    """
    classes = scores.shape[0]
    ranks = torch.arange(classes, 0, -1, dtype=scores.dtype, device=scores.device)
    # 1 for a best class and 0 for others, times a rank that is higher for earlier classes.
    is_best = (scores - scores.amax(dim=0)).sign() + 1
    highest = (is_best * ranks.reshape(-1, *[1] * (scores.dim() - 1))).amax(dim=0)
    return classes - highest.to(torch.int64)


def count_votes(cast: Tensor, classes: int) -> Tensor:
    """Ballots int64 `[teachers, n]` -> votes int64 `[n, classes]`."""
    votes = torch.zeros(classes, cast.shape[1], dtype=torch.int64, device=cast.device)
    return votes.scatter_add(0, cast, torch.ones_like(cast)).T.contiguous()
