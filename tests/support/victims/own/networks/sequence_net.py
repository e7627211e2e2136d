"""A recurrent network on sequences of any length, as a model file."""

from torch import nn


class SequenceNet(nn.Module):
    """Sequences float32 [n, steps, 3] -> logits [n, 4]."""

    def __init__(self):
        super().__init__()
        self.recurrent = nn.GRU(3, 16, batch_first=True)
        self.classifier = nn.Linear(16, 4)

    def forward(self, sequences):
        states, _ = self.recurrent(sequences)
        return self.classifier(states.mean(1))
