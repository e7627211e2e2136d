"""A network on pictures as TorchServe's image_classifier makes them, as a model file."""

import torch
from torch import nn


class PictureNet(nn.Module):
    """Pictures [n, 3, 224, 224] -> logits [n, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(8)
        self.layer = nn.Linear(3 * 8 * 8, 10)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layer(self.pool(pictures).flatten(1))
        return logits
