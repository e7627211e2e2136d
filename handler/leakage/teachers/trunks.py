"""Frozen feature extractors that teachers share.

None of the weights of `scattering` and `random` depends on data, so they reveal none of it. `victim` stands for the
victim's own features, which depend on all of its training data: the privacy of votes then covers the heads alone.

`scattering` is a small wavelet scattering of the first order (Bruna and Mallat, "Invariant Scattering Convolution
Networks", 2013) with Morlet wavelets of one scale, applied to an image that is halved again and again. `random` is
random convolutions for images, and random features (Rahimi and Recht 2007, with rectifiers) for other inputs.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # the customary name

from calpow.handler.errors import TrunkError

VICTIM = "victim"
TRUNKS = ("scattering", "random", VICTIM)
SMALLEST_SIDE = 8
LARGEST_SIDE = 64
GRID = 8


def is_image(input_shape: tuple[int, ...]) -> bool:
    """Return whether inputs of this shape look like images `[channels, height, width]` of at least 8x8."""
    return len(input_shape) == 3 and min(input_shape[1:]) >= SMALLEST_SIDE


def make_trunk(name: str, input_shape: tuple[int, ...] | None, seed: int) -> nn.Module:
    """Make a frozen module, float32 `[n, *input_shape]` -> features `[n, f]`, which its arguments determine.

    That of `victim` takes the victim's features, projected on their axes, and returns them. Raises TrunkError for an
    unknown name, for inputs of several shapes (None), and for a scattering of inputs that are not images.
    """
    if name not in TRUNKS:
        raise TrunkError(f"there is no trunk {name}: take one of {', '.join(TRUNKS)}")
    if name == VICTIM:
        return nn.Identity()
    if input_shape is None:
        raise TrunkError(
            f"the model takes inputs of several shapes or several tensors, trunk {name} takes one: take --trunk victim"
        )
    generator = torch.Generator().manual_seed(seed)
    if name == "scattering":
        if not is_image(input_shape):
            raise TrunkError(f"scattering is for images of at least 8x8, not for {input_shape}: take --trunk random")
        return Scattering(input_shape).eval()
    if is_image(input_shape):
        return RandomConvolutions(input_shape, generator).eval()
    return RandomFeatures(math.prod(input_shape), generator).eval()


def morlet_bank(orientations: int, size: int) -> Tensor:
    """Return Morlet wavelets, real parts before imaginary parts, `[2 * orientations, 1, size, size]`.

    Each has mean zero and L1 norm one; centre frequency 3 pi / 4, deviation 0.8 pixels, slant 1/2.
    """
    axis = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    angles = torch.arange(orientations, dtype=torch.float64)[:, None, None] * math.pi / orientations
    along = x * angles.cos() + y * angles.sin()
    across = y * angles.cos() - x * angles.sin()
    envelope = torch.exp(-(along**2 + (across / 2) ** 2) / (2 * 0.8**2))
    wave = envelope * torch.exp(0.75j * math.pi * along)
    balance = wave.sum(dim=(1, 2), keepdim=True) / envelope.sum(dim=(1, 2), keepdim=True)
    wavelets = wave - envelope * balance
    wavelets = wavelets / wavelets.abs().sum(dim=(1, 2), keepdim=True)
    return torch.cat([wavelets.real, wavelets.imag]).float().unsqueeze(1)


class _ImageTrunk(nn.Module):
    """Base class of the image trunks, which work on images of bounded size."""

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.channels, height, width = input_shape
        self.size = (min(height, LARGEST_SIDE), min(width, LARGEST_SIDE))
        self.shrinks = self.size != (height, width)

    def working_size(self, images: Tensor) -> Tensor:
        """Shrink images to LARGEST_SIDE at most."""
        return F.adaptive_avg_pool2d(images, self.size) if self.shrinks else images


class Scattering(_ImageTrunk):
    """Square roots of the moduli of wavelet coefficients, averaged over one grid per scale, and the pooled pixels.

    The coefficients are of the channels' mean. Paths of second order are left out: they double the time and do not
    improve the vote (decision 0022). The root brings strong and weak edges closer together, as a logarithm would.
    """

    ORIENTATIONS = 4
    FILTER_SIZE = 5
    # Added to the moduli: without it, rounding errors in flat regions would become features.
    SMALLEST = 1e-4

    wavelets: Tensor

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        """`input_shape` is `[channels, height, width]`."""
        super().__init__(input_shape)
        self.register_buffer("wavelets", morlet_bank(self.ORIENTATIONS, self.FILTER_SIZE))
        side = min(self.size)
        # Every other position suffices where the grid is coarser than that.
        self.stride = 2 if side >= 2 * GRID else 1
        finest = min(GRID, side // self.stride // 2)
        self.grids = [finest, (finest + 1) // 2] + [finest // 4] * (side >= LARGEST_SIDE)
        self.pixels = finest if self.stride == 2 else GRID

    def forward(self, images: Tensor) -> Tensor:
        """Return features `[n, f]` of images `[n, channels, height, width]`."""
        images = self.working_size(images)
        scaled = images if self.channels == 1 else images.mean(dim=1, keepdim=True)
        pooled = [F.adaptive_avg_pool2d(images, self.pixels)]
        for scale, grid in enumerate(self.grids):
            if scale:
                scaled = F.avg_pool2d(scaled, 2)
            roots = self._roots(scaled, 1 if scale else self.stride)
            pooled.append(F.adaptive_avg_pool2d(roots, grid))
        return torch.cat([planes.flatten(1) for planes in pooled], dim=1)

    def _roots(self, planes: Tensor, stride: int) -> Tensor:
        """Return roots of moduli `[n, orientations, h, w]` of planes `[n, 1, h, w]`, at every `stride`th position."""
        waves = F.conv2d(planes, self.wavelets, stride=stride, padding=self.FILTER_SIZE // 2)
        real, imaginary = waves.chunk(2, dim=1)
        return (torch.hypot(real, imaginary) + self.SMALLEST).sqrt()


class RandomConvolutions(_ImageTrunk):
    """Two layers of random zero-mean convolutions with rectifiers, and the pixels, all averaged over grids."""

    CHANNELS = (32, 64)

    first: Tensor
    second: Tensor

    def __init__(self, input_shape: tuple[int, ...], generator: torch.Generator) -> None:
        """`input_shape` is `[channels, height, width]`."""
        super().__init__(input_shape)
        fan_in = (self.channels, self.CHANNELS[0])
        for name, inputs, outputs in zip(("first", "second"), fan_in, self.CHANNELS, strict=True):
            weights = torch.randn(outputs, inputs, 3, 3, generator=generator) / math.sqrt(9 * inputs)
            # A filter of mean zero responds to structure and not to brightness.
            self.register_buffer(name, weights - weights.mean(dim=(2, 3), keepdim=True))

    def forward(self, images: Tensor) -> Tensor:
        """Return features `[n, f]` of images `[n, channels, height, width]`."""
        n = images.shape[0]
        images = self.working_size(images)
        first = F.conv2d(images, self.first, padding=1).relu()
        second = F.conv2d(F.avg_pool2d(first, 2), self.second, padding=1).relu()
        pooled = [(images, GRID), (first, GRID // 2), (second, GRID // 4)]
        return torch.cat([F.adaptive_avg_pool2d(plane, grid).reshape(n, -1) for plane, grid in pooled], dim=1)


class RandomFeatures(nn.Module):
    """Rectified random projections of the flattened input, and the input itself."""

    FEATURES = 512
    LARGEST_INPUT = 4096

    projection: Tensor

    def __init__(self, inputs: int, generator: torch.Generator) -> None:
        """`inputs` is the number of values of one input; more than 4,096 are averaged to that many."""
        super().__init__()
        self.width = min(inputs, self.LARGEST_INPUT)
        self.shrinks = inputs > self.width
        projection = torch.randn(self.width, self.FEATURES, generator=generator) / math.sqrt(self.width)
        self.register_buffer("projection", projection)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return features `[n, f]` of inputs `[n, ...]`."""
        flat = inputs.flatten(1)
        if self.shrinks:
            flat = F.adaptive_avg_pool1d(flat.unsqueeze(1), self.width).squeeze(1)
        return torch.cat([flat, (flat @ self.projection).relu()], dim=1)
