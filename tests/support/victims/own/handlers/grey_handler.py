"""Handler of grey images in files of PNG; answers with the class of each."""

import io
from collections.abc import Mapping, Sequence

import torch
from PIL import Image
from ts.torch_handler.base_handler import BaseHandler


class GreyHandler(BaseHandler):  # type: ignore[misc]  # torchserve has no types
    """PNG -> {"class": 3}."""

    def preprocess(self, data: Sequence[Mapping[str, bytes]]) -> torch.Tensor:
        """Requests -> images [n, 1, height, width] with values in 0..1."""
        return torch.stack([_read(row.get("data") or row.get("body") or b"") for row in data]).to(self.device)

    def postprocess(self, data: torch.Tensor) -> list[dict[str, int]]:
        """Logits [n, classes] -> a small JSON document a request."""
        return [{"class": label} for label in data.argmax(dim=1).tolist()]


def _read(body: bytes) -> torch.Tensor:
    with Image.open(io.BytesIO(body)) as image:
        grey = image.convert("L")
    pixels = torch.frombuffer(bytearray(grey.tobytes()), dtype=torch.uint8)
    return pixels.view(1, grey.height, grey.width).float() / 255
