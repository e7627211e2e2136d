"""Architectures as owners write them for `calpow teachers --network`, and some that are none."""

import math

import torch
from torch import nn


def small(classes, input_shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), 32), nn.ReLU(), nn.Linear(32, classes))


def normed(classes, input_shape):
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(math.prod(input_shape)), small(classes, input_shape))


class Scaled(nn.Module):
    def __init__(self, inner, factor):
        super().__init__()
        self.inner, self.factor = inner, factor

    def forward(self, inputs):
        return self.inner(inputs) * self.factor


class Single(nn.Module):
    """Takes only the batches that it is tried with."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, inputs):
        return self.inner(inputs.reshape(2, -1)) if len(inputs) == 2 else self.inner(inputs)


class Exploding(nn.Module):
    """Well until it is trained."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, inputs):
        scores = self.inner(inputs)
        return scores * float("nan") if self.training else scores


class Dead(nn.Module):
    """Trains its bias and nothing else."""

    def __init__(self, classes):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(classes))

    def forward(self, inputs):
        return self.bias + torch.zeros(inputs.shape[0], 1)


def raising(classes, input_shape):
    raise ValueError("no such\nthing")


def nothing(classes, input_shape):
    return None


def narrow(classes, input_shape):
    return small(classes - 1, input_shape)


def crashing(classes, input_shape):
    return nn.Linear(3, classes)


def nan(classes, input_shape):
    return Scaled(small(classes, input_shape), math.nan)


def frozen(classes, input_shape):
    return small(classes, input_shape).requires_grad_(False)


def single(classes, input_shape):
    return Single(small(classes, input_shape))


def exploding(classes, input_shape):
    return Exploding(small(classes, input_shape))


def dead(classes, input_shape):
    return Dead(classes)


a_number = 3
