"""A handler that names itself in whatever leaves it, writes down its passes, streams, and describes itself."""

import os

import torch
from ts.handler_utils.utils import send_intermediate_predict_response
from ts.torch_handler.base_handler import BaseHandler

SECRET = "the victim's own words"


class TellingHandler(BaseHandler):
    def handle(self, data, context):
        self.context = context
        if self._is_describe():
            return [{"about": "the victim's description"}]
        with open(os.environ["PASSES"], "a") as file:
            file.write("pass\n" * len(data))
        texts = [self.text(row) for row in data]
        inputs = torch.tensor([[float(number) for number in text.partition(";")[0].split(",")] for text in texts])
        labels = self.model(inputs).argmax(1).tolist()
        if "stream" in texts[0]:
            send_intermediate_predict_response([SECRET], context.request_ids, "chunk", 200, context)
        return [f"{SECRET}: {label}" for label in labels]

    def text(self, row):
        body = row.get("data") or row.get("body")
        return body if isinstance(body, str) else bytes(body).decode()

    def preprocess(self, data):
        return torch.tensor([[float(number) for number in self.text(row).split(",")] for row in data])
