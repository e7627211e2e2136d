"""The victim's handler: a custom TorchServe handler that knows nothing of Calpow."""

import io
from collections.abc import Mapping, Sequence

import torch
from PIL import Image
from ts.torch_handler.base_handler import BaseHandler

SIZE = 8


def read_digit(body: bytes) -> torch.Tensor:
    """An image file -> grey values in 0..1, float32 [1, 8, 8]."""
    with Image.open(io.BytesIO(body)) as image:
        grey = image.convert("L")
    if grey.size != (SIZE, SIZE):
        grey = grey.resize((SIZE, SIZE), Image.Resampling.BOX)
    return torch.frombuffer(bytearray(grey.tobytes()), dtype=torch.uint8).view(1, SIZE, SIZE).float() / 255


class DigitHandler(BaseHandler):  # type: ignore[misc]  # torchserve has no types
    """PNG of a digit -> {"digit": 7, "probabilities": [...]}."""

    def preprocess(self, data: Sequence[Mapping[str, bytes]]) -> torch.Tensor:
        """Requests -> images [n, 1, 8, 8]."""
        bodies = [row.get("data") or row.get("body") or b"" for row in data]
        return torch.stack([read_digit(body) for body in bodies]).to(self.device)

    def inference(self, data: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        """Images [n, 1, 8, 8] -> probabilities [n, 10]."""
        with torch.inference_mode():
            logits: torch.Tensor = self.model(data)
            return logits.softmax(dim=1)

    def postprocess(self, data: torch.Tensor) -> list[dict[str, object]]:
        """One small JSON document a request."""
        return [
            {"digit": max(range(len(row)), key=row.__getitem__), "probabilities": [round(p, 6) for p in row]}
            for row in data.tolist()
        ]
