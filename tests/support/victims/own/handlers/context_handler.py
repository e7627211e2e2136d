"""A handler whose `preprocess` takes the context, and which keeps what it needs of it on itself."""

import torch
from ts.torch_handler.base_handler import BaseHandler


class ContextHandler(BaseHandler):
    def preprocess(self, data, context):
        self.request_context = context
        bodies = [row.get("data") or row.get("body") for row in data]
        return torch.tensor([[float(number) for number in bytes(body).decode().split(",")] for body in bodies])

    def handle(self, data, context):
        self.ids = [context.get_request_id(index) for index in range(len(data))]
        rows = self.preprocess(data, context)
        with torch.inference_mode():
            scores = self.model(rows.to(self.device)).softmax(1).tolist()
        for index in range(len(data)):
            self.request_context.set_response_header(index, "X-Rows", str(len(self.ids)))
        return scores
