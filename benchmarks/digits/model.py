"""The victim's network, as the model file of its archive."""

import torch
from torch import nn


class DigitNet(nn.Module):
    """Grey images [n, 1, 8, 8] with values in 0..1 -> logits [n, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(32 * 4 * 4, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [n, 10]."""
        logits: torch.Tensor = self.layers(images)
        return logits
