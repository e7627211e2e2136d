"""A handler for JSON `{"b64": "..."}`, a picture in base64."""

import base64
import io

import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor
from ts.torch_handler.base_handler import BaseHandler


class Base64Handler(BaseHandler):
    def preprocess(self, data):
        images = []
        for row in data:
            encoded = (row.get("data") or row.get("body"))["b64"]
            picture = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB").resize((16, 16))
            images.append(pil_to_tensor(picture) / 255)
        return torch.stack(images).to(self.device)

    def postprocess(self, data):
        return data.softmax(1).tolist()
