"""What an owner writes for a victim without a preprocess."""

import torch


def to_tensor(data):
    return torch.tensor([[float(n) for n in bytes(row["body"]).decode().split(",")] for row in data])
