"""A handler for forms: the picture is the part `image`."""

import io

import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor
from ts.torch_handler.base_handler import BaseHandler


class PartHandler(BaseHandler):
    def preprocess(self, data):
        pictures = [Image.open(io.BytesIO(row["image"])).convert("RGB").resize((16, 16)) for row in data]
        return torch.stack([pil_to_tensor(picture) / 255 for picture in pictures]).to(self.device)

    def postprocess(self, data):
        return data.softmax(1).tolist()
