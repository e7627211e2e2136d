"""A handler in the style of the Transformers example of TorchServe: texts are padded to the longest of the batch."""

import json

import torch
from ts.torch_handler.base_handler import BaseHandler


class BertHandler(BaseHandler):
    def initialize(self, context):
        super().initialize(context)
        with open("words.json") as file:
            self.words = json.load(file)

    def preprocess(self, requests):
        texts = []
        for request in requests:
            text = request.get("data") or request.get("body")
            texts.append(bytes(text).decode() if isinstance(text, bytes | bytearray) else text)
        ids = [[self.words.get(word, 1) for word in text.split()][:64] for text in texts]
        longest = max(map(len, ids))
        input_ids = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
        return input_ids.to(self.device), mask.to(self.device)

    def inference(self, batch):
        input_ids, attention_mask = batch
        with torch.inference_mode():
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    def postprocess(self, logits):
        return [self.mapping[str(label)] for label in logits.argmax(1).tolist()]
