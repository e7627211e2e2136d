"""The text network of PyTorch's tutorial, for TorchServe's text_classifier, as a model file."""

from torch import nn


class BagNet(nn.Module):
    """Ids int64 [words of all texts] and offsets int64 [n] -> logits [n, 4]."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.EmbeddingBag(2000, 16)
        self.fc = nn.Linear(16, 4)

    def forward(self, text, offsets):
        return self.fc(self.embedding(text, offsets))
