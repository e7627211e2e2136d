"""A handler for JSON `{"instances": [[...], ...]}`; model-config.yaml names the type of the model's input."""

import torch
from ts.torch_handler.base_handler import BaseHandler


class TableHandler(BaseHandler):
    def initialize(self, context):
        super().initialize(context)
        self.dtype = getattr(torch, context.model_yaml_config["handler"]["dtype"])
        if self.dtype.is_floating_point:
            self.model.to(self.dtype)

    def preprocess(self, data):
        bodies = [row.get("data") or row.get("body") for row in data]
        self.sizes = [len(body["instances"]) for body in bodies]
        return torch.tensor([instance for body in bodies for instance in body["instances"]], dtype=self.dtype)

    def postprocess(self, data):
        return [{"predictions": part.tolist()} for part in data.float().split(self.sizes)]
