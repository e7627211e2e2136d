"""Pictures that need no data: made by rules whose statistics are like those of photographs, drawings and textures.

Networks that see nothing else learn features that serve for photographs (Baradad et al. 2021, "Learning to see by
looking at noise"), so that they can teach a thief's copy, too. All pictures are float32 `[count, channels, height,
width]` in 0 to 1, with channels that differ in colour.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Picture = Callable[[int, int, tuple[int, int], torch.Generator], Tensor]

# Dead leaves: their number, the least radius of a picture with fine and with coarse ones, and the largest of all, as
# shares of a side.
LEAVES = 150
RADII = (0.04, 0.15, 0.6)
# 1/f spectra: the exponents of the amplitude; photographs have about 1.
EXPONENTS = (0.6, 2.0)
# Steps after which a point of a fractal counts as one that stays.
ESCAPE_STEPS = 40
BACKWARD_STEPS = 8
STROKES = 6
# Straight parts that a curved stroke is drawn with.
STROKE_PARTS = 6


def dead_leaves(count: int, channels: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return discs and rectangles that cover one another; their radii follow a power law with exponent 3."""
    y, x = _grid(size)
    finest, coarsest, most = RADII
    least = finest * (coarsest / finest) ** torch.rand(count, 1, generator=generator)
    top = torch.zeros(count, len(y), dtype=torch.int16)
    draws = torch.rand(LEAVES, count, 5, generator=generator)
    for leaf, draw in enumerate(draws.unsqueeze(3).unbind(), 1):
        across, down, share, angle, slenderness = draw.unbind(dim=1)
        radius = least / (1 - share * (1 - (least / most) ** 2)).sqrt()
        dx, dy = x - across, y - down
        if leaf % 2:
            covered = dx.square() + dy.square() < radius.square()
        else:
            cosine, sine = (angle * math.pi).cos(), (angle * math.pi).sin()
            u, v = (dx * cosine + dy * sine).abs(), (dy * cosine - dx * sine).abs()
            covered = (u < radius) & (v < radius * (0.3 + 0.7 * slenderness))
        top.masked_fill_(covered, leaf)
    # The leaves of a picture have a common tint.
    contrast = 0.3 + 0.7 * torch.rand(count, 1, 1, generator=generator)
    ground = _colours((count, 1), channels, generator)
    colours = ground + contrast * (_colours((count, LEAVES + 1), channels, generator) - ground)
    places = top.long().unsqueeze(1).expand(count, channels, len(y))
    return colours.movedim(2, 1).gather(2, places).reshape(count, channels, *size)


def spectra(count: int, channels: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return noise whose amplitude falls with the frequency f as 1 / f^a, a in EXPONENTS, with random phases."""
    height, width = size
    frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1 / max(size)
    least, most = EXPONENTS
    exponents = least + (most - least) * torch.rand(count, 1, 1, 1, generator=generator)
    # The first plane is the brightness, the others are the channels' own.
    noise = torch.randn(count, channels + 1, height, width, generator=generator)
    planes = torch.fft.irfft2(torch.fft.rfft2(noise) * frequency.pow(-exponents), s=size)
    return _stretched(planes[:, :1] + 0.3 * (channels > 1) * planes[:, 1:])


def fractals(count: int, channels: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return parts of Julia sets, of numbers about the edge of the Mandelbrot set, coloured by the time of escape."""
    y, x = _grid(size)
    angle, beyond, zoom, turn = torch.rand(4, count, 1, generator=generator)
    edge = torch.polar(torch.ones(count, 1), 2 * math.pi * angle)
    constant = (0.98 + 0.12 * beyond) * (edge / 2 - edge.square() / 4)
    # A fixed point that repels belongs to the set, and so do the points that lead to it.
    centre = (1 + (1 - 4 * constant).sqrt()) / 2
    for sign in (torch.rand(BACKWARD_STEPS, count, 1, generator=generator) < 0.5).float() * 2 - 1:
        centre = sign * (centre - constant).sqrt()
    width = 0.3 * 10**zoom
    points = centre + torch.polar(width, 2 * math.pi * turn) * torch.complex(x - 0.5, y - 0.5)
    a, b = points.real, points.imag
    time = torch.zeros_like(a)
    for _ in range(ESCAPE_STEPS):
        a, b = a * a - b * b + constant.real, 2 * a * b + constant.imag
        # Points that escaped stay away.
        a, b = a.clamp(-1e4, 1e4), b.clamp(-1e4, 1e4)
        time += a * a + b * b < 16
    tone = (time / ESCAPE_STEPS).sqrt().unsqueeze(1)
    waves, phase = torch.rand(2, count, 1, 1, generator=generator)
    phases = phase + 0.3 * torch.rand(count, channels, 1, generator=generator)
    colours = 0.5 - 0.5 * (2 * math.pi * ((0.5 + 1.5 * waves) * tone + phases)).cos()
    return _stretched(colours.reshape(count, channels, *size))


def strokes(count: int, channels: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return thick lines and arcs in one colour on a plain ground of another, as in letters and drawings.

    Half of the drawings are white on black or black on white.
    """
    y, x = _grid(size)
    nearest = torch.full((count, len(y)), math.inf)
    pen = 0.2 + 0.6 * torch.rand(count, 1, 2, generator=generator)
    lengths = 1 + (STROKES * torch.rand(count, 1, generator=generator)).floor()
    for stroke in range(STROKES):
        end = 0.12 + 0.76 * torch.rand(count, 1, 2, generator=generator)
        lifted, bent, bend = torch.rand(3, count, 1, 1, generator=generator)
        start = torch.where(lifted < 0.4, 0.12 + 0.76 * torch.rand(count, 1, 2, generator=generator), pen)
        middle = (start + end) / 2
        normal = (end - start).flip(2) * torch.tensor([1.0, -1.0])
        control = middle + torch.where(bent < 0.6, 2 * (bend - 0.5), 0.0) * normal
        for part in range(STROKE_PARTS):
            first, last = (_bezier(start, control, end, (part + step) / STROKE_PARTS) for step in (0, 1))
            distance = _squared_distance(x, y, first, last)
            nearest = torch.where(stroke < lengths, torch.minimum(nearest, distance), nearest)
        pen = end
    thickness = 0.025 + 0.05 * torch.rand(count, 1, generator=generator)
    softness = 1 / max(size)
    ink = ((thickness - nearest.sqrt()) / softness + 0.5).clamp(0, 1).unsqueeze(1)
    return _two_tone(ink, channels, generator).reshape(count, channels, *size)


def gratings(count: int, channels: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return stripes of any direction and width, soft or hard, a third of them crossed by others."""
    y, x = _grid(size)
    waves = []
    for _ in range(2):
        angle, pace, phase = torch.rand(3, count, 1, generator=generator)
        cycles = 1.5 * 8**pace
        along = x * (math.pi * angle).cos() + y * (math.pi * angle).sin()
        waves.append((2 * math.pi * (cycles * along + phase)).sin())
    crossed, hard = torch.rand(2, count, 1, generator=generator)
    wave = torch.where(crossed < 1 / 3, (waves[0] + waves[1]) / 2, waves[0])
    tone = torch.where(hard < 0.5, (8 * wave).clamp(-1, 1), wave) / 2 + 0.5
    return _two_tone(tone.unsqueeze(1), channels, generator).reshape(count, channels, *size)


def _grid(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the places of pixels, in 0 to 1, `[height * width]` each: down and across."""
    height, width = size
    down, across = torch.meshgrid(
        (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij"
    )
    return down.flatten(), across.flatten()


def _colours(shape: tuple[int, ...], channels: int, generator: torch.Generator) -> Tensor:
    """Return colours `[*shape, channels]`: a brightness, from which the channels differ a little."""
    brightness = torch.rand(*shape, 1, generator=generator)
    if channels == 1:
        return brightness
    return (brightness + 0.15 * torch.randn(*shape, channels, generator=generator)).clamp(0, 1)


def _two_tone(tone: Tensor, channels: int, generator: torch.Generator) -> Tensor:
    """Return pictures `[n, channels, pixels]` of two colours, black and white in half, from tones `[n, 1, pixels]`."""
    count = len(tone)
    plain, swapped = torch.rand(2, count, 1, 1, generator=generator)
    ground, ink = (_colours((count,), channels, generator).unsqueeze(2) for _ in range(2))
    black = (swapped < 0.5).float()
    ground, ink = torch.where(plain < 0.5, black, ground), torch.where(plain < 0.5, 1 - black, ink)
    # Colours that are too alike would hide the drawing.
    unlike = (ink - ground).abs().mean(dim=1, keepdim=True) > 0.25
    ink = torch.where(unlike, ink, (ground < 0.5).float())
    return ground + (ink - ground) * tone


def _stretched(pictures: Tensor) -> Tensor:
    """Return pictures whose numbers reach from 0 to 1 in each."""
    low, high = pictures.amin(dim=(1, 2, 3), keepdim=True), pictures.amax(dim=(1, 2, 3), keepdim=True)
    return (pictures - low) / (high - low).clamp(min=1e-6)


def _bezier(start: Tensor, control: Tensor, end: Tensor, place: float) -> Tensor:
    return (1 - place) ** 2 * start + 2 * place * (1 - place) * control + place**2 * end


def _squared_distance(x: Tensor, y: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Return the squared distances of pixels from lines between points `[n, 1, 2]`, `[n, pixels]`."""
    (x0, y0), (x1, y1) = first.unbind(dim=2), last.unbind(dim=2)
    dx, dy = x1 - x0, y1 - y0
    along = (((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy).clamp(min=1e-9)).clamp(0, 1)
    return (x - x0 - along * dx).square() + (y - y0 - along * dy).square()
