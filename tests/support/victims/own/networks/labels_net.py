"""A network whose labels are independent of each other, as a model file."""

from torch import nn


class LabelsNet(nn.Module):
    """Rows float32 [n, 24] -> probabilities [n, 4], several of which may be near 1."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(24, 32), nn.ReLU())
        self.classifier = nn.Linear(32, 4)

    def forward(self, rows):
        return self.classifier(self.features(rows)).sigmoid()
