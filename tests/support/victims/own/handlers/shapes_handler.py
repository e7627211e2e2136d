"""A handler whose `preprocess` returns what model-config.yaml names; the payload is a line of numbers."""

import torch
from ts.torch_handler.base_handler import BaseHandler


class ShapesHandler(BaseHandler):
    def initialize(self, context):
        super().initialize(context)
        self.returns = context.model_yaml_config["handler"]["returns"]

    def preprocess(self, data):
        bodies = [row.get("data") or row.get("body") for row in data]
        rows = torch.tensor([[float(number) for number in bytes(body).decode().split(",")] for body in bodies])
        if self.returns == "tuple":
            return rows, torch.ones(len(rows), 1)
        if self.returns == "dict":
            return {"rows": rows, "weights": torch.ones(len(rows), 1)}
        if self.returns == "list":
            return list(rows)
        if self.returns == "array":
            return rows.numpy()
        # For batches of one.
        return rows[0]

    def inference(self, data):
        if self.returns == "list":
            data = torch.stack(data)
        elif self.returns == "array":
            data = torch.from_numpy(data)
        with torch.inference_mode():
            return self.model(data)

    def postprocess(self, data):
        return data.reshape(-1, 4).softmax(1).tolist()
