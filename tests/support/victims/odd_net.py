"""A model that answers four numbers in many ways, few of which are right."""

import torch
from torch import nn


class OddNet(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, data: torch.Tensor, again: torch.Tensor | None = None) -> object:
        if self.how == "raises":
            raise IndexError("index out of range in self")
        return {
            "one number": lambda: data.sum(dim=1, keepdim=True),
            "sigmoids": data.sigmoid,
            "no batch": lambda: data[:, 0],
            "three axes": lambda: data.unsqueeze(2),
            "nan": lambda: data * float("nan"),
            "constant": lambda: torch.ones_like(data),
            "classes": lambda: torch.nn.functional.one_hot(data.argmax(dim=1), 4).float(),
            "five": lambda: torch.cat([data, data[:, :1]], dim=1),
            "fewer": lambda: data[1:],
            "list": data.tolist,
        }.get(self.how, lambda: data * 8)()
