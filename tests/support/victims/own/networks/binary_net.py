"""A network that answers with the probability of the second class, as a model file."""

from torch import nn


class BinaryNet(nn.Module):
    """Rows float32 [n, 24] -> probabilities [n, 1]."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(24, 32), nn.ReLU())
        self.classifier = nn.Linear(32, 1)

    def forward(self, rows):
        return self.classifier(self.features(rows)).sigmoid()
