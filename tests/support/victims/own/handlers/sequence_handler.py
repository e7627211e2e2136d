"""A handler for sequences in JSON, each of another length: one call of the model for each request."""

import torch
from ts.torch_handler.base_handler import BaseHandler


class SequenceHandler(BaseHandler):
    def preprocess(self, data):
        return [torch.tensor(row.get("data") or row.get("body")).unsqueeze(0) for row in data]

    def inference(self, data):
        with torch.inference_mode():
            return [self.model(sequence.to(self.device)) for sequence in data]

    def postprocess(self, data):
        return [logits.softmax(1)[0].tolist() for logits in data]
