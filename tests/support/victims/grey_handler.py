"""A handler of grey images 8 x 8, as PNG files or as JSON numbers, which answers with unrounded probabilities."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image
from ts.torch_handler.base_handler import BaseHandler


class GreyHandler(BaseHandler):  # type: ignore[misc]  # torchserve has no types
    """PNG, or numbers [1, 8, 8] from 0 to 1 -> {"probabilities": [...]}."""

    def preprocess(self, data: Sequence[Mapping[str, object]]) -> torch.Tensor:
        """Requests -> images [n, 1, 8, 8]."""
        return torch.stack([_image(row.get("data") or row.get("body")) for row in data])

    def inference(self, data: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        """Images [n, 1, 8, 8] -> probabilities [n, 10]."""
        with torch.inference_mode():
            logits: torch.Tensor = self.model(data)
            return logits.softmax(dim=1)

    def postprocess(self, data: torch.Tensor) -> list[dict[str, object]]:
        """One document a request."""
        return [{"probabilities": row} for row in data.tolist()]


def _image(body: object) -> torch.Tensor:
    if not isinstance(body, (bytes, bytearray)):
        return torch.tensor(body, dtype=torch.float32)
    with Image.open(io.BytesIO(body)) as image:
        return torch.from_numpy(np.asarray(image.convert("L"), np.float32) / 255)[None]
