"""Statistics of the victim's training data, which scores compare a query with. `calpow teachers` fits them."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

# The name of the victim's features, the input of its last linear layer, among the names of layers.
LAST = ""


@dataclass(frozen=True)
class Gaussians:
    """A Gaussian for each class, all of one covariance, on numbers `[n, f]` of a layer.

    The squared Mahalanobis distance of x from a class is the squared length of `x @ whitening` minus the class's row of
    `means`: `whitening` is float32 `[f, d]`, `means` float32 `[classes, d]`.
    """

    whitening: Tensor
    means: Tensor


@dataclass(frozen=True)
class Mixture:
    """A mixture of k Gaussians on the victim's inputs, flattened to p numbers after pooling, on d axes.

    The log density of x is the logsumexp over k of `log_weights` minus half the squared length of
    `((x - centre) @ axes) @ whitening[k] - means[k]`. `pool` is the side of the squares that images are averaged over,
    1 for other inputs; `centre` is `[p]`, `axes` `[p, d]`, `whitening` `[k, d, d]`, `means` `[k, d]`, `log_weights`
    `[k]` with the determinants in it; all float32.
    """

    pool: int
    centre: Tensor
    axes: Tensor
    whitening: Tensor
    means: Tensor
    log_weights: Tensor


@dataclass(frozen=True)
class References:
    """Statistics of the training data by layer; the layer LAST is that of the victim's features.

    layers: names of the modules whose outputs are read, in the order of a pass, without LAST.
    axes: float32 `[f, d]`, principal directions of a layer's numbers, onto which prototypes and teachers' heads project
        them; of LAST where the victim shows features.
    prototypes: float32 `[k, d]`, cluster centres of the training data of all classes on `axes`. The numbers were scaled
        to length one before they were projected, and so are the centres.
    gaussians: a Gaussian for each class on a layer's numbers; of LAST, on its `axes`.
    mixture: density of the inputs; None where they are no small images or tables.
    token_costs: float32 `[vocabulary]`, minus the log frequency of each whole number in the inputs; None for others.
    """

    layers: tuple[str, ...]
    axes: Mapping[str, Tensor]
    prototypes: Mapping[str, Tensor]
    gaussians: Mapping[str, Gaussians]
    mixture: Mixture | None
    token_costs: Tensor | None
