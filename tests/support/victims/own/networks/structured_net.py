"""A network whose only argument holds several tensors, as a model file."""

from torch import nn


class StructuredNet(nn.Module):
    """A tuple or dict of rows float32 [n, 24] and their weights float32 [n, 1] -> logits [n, 4]."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(24, 32), nn.ReLU())
        self.classifier = nn.Linear(32, 4)

    def forward(self, batch):
        rows, weights = (batch["rows"], batch["weights"]) if isinstance(batch, dict) else batch
        return self.classifier(self.features(rows * weights))
