"""The victim's handler: PNG files of 28x28 grey pixels."""

import io
from collections.abc import Mapping, Sequence

import torch
from PIL import Image
from ts.torch_handler.base_handler import BaseHandler


class FashionHandler(BaseHandler):  # type: ignore[misc]  # torchserve has no types
    """PNG of a garment -> logits."""

    def preprocess(self, data: Sequence[Mapping[str, bytes]]) -> torch.Tensor:
        """Requests -> images [n, 1, 28, 28]."""
        bodies = [row.get("data") or row.get("body") or b"" for row in data]
        return torch.stack([_read(body) for body in bodies]).to(self.device)


def _read(body: bytes) -> torch.Tensor:
    with Image.open(io.BytesIO(body)) as image:
        pixels = bytearray(image.convert("L").tobytes())
    return torch.frombuffer(pixels, dtype=torch.uint8).view(1, 28, 28).float() / 255
