"""A network on rows of a table, in the precision of its weights, as a model file."""

from torch import nn


class TableNet(nn.Module):
    """Rows [n, 24], numbers or bools -> logits [n, 4]."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(24, 32), nn.ReLU())
        self.classifier = nn.Linear(32, 4)

    def forward(self, rows):
        if not rows.is_floating_point():
            rows = rows.to(self.classifier.weight.dtype)
        return self.classifier(self.features(rows))
