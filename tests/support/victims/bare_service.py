"""A function handler without a model: it makes its answers itself."""

import torch


def handle(data, context):
    if data is None:
        return None
    vectors = torch.tensor([[float(n) for n in bytes(row["body"]).decode().split(",")] for row in data])
    return [int(label) for label in vectors.argmax(1)]
