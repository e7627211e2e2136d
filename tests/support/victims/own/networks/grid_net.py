"""A network on pictures of any size, as a model file."""

from torch import nn


class GridNet(nn.Module):
    """Pictures float32 [n, 3, height, width] -> logits [n, 5]."""

    def __init__(self):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(8)
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 32), nn.ReLU())
        self.classifier = nn.Linear(32, 5)

    def forward(self, pictures):
        return self.classifier(self.features(self.pool(pictures)))
