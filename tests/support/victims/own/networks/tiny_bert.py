"""A small transformer with the interface of the Transformers library, as a model file."""

from collections import OrderedDict

import torch
from torch import nn


class TinyBert(nn.Module):
    """Keyword arguments `input_ids` and `attention_mask`, int64 [n, words] -> an output with `logits` [n, 4]."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(100, 16, padding_idx=0)
        self.places = nn.Embedding(64, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.classifier = nn.Linear(16, 4)

    def forward(self, input_ids, attention_mask):
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        hidden = self.words(input_ids) + self.places(positions)
        hidden = self.encoder(hidden, src_key_padding_mask=attention_mask == 0)
        present = attention_mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * present).sum(1) / present.sum(1)
        output = OrderedDict(logits=self.classifier(pooled), hidden_states=(hidden,))
        # A ModelOutput of the library has its entries as attributes, too.
        output.logits = output["logits"]
        return output
