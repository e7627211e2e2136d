"""A handler for a classifier of texts that Transformers saved with its tokenizer."""

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from ts.torch_handler.base_handler import BaseHandler


class DistilBertHandler(BaseHandler):
    def initialize(self, context):
        folder = context.system_properties["model_dir"]
        self.device = torch.device("cpu")
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        self.initialized = True

    def preprocess(self, requests):
        texts = [bytes(request.get("data") or request.get("body")).decode() for request in requests]
        return self.tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=64)

    def inference(self, batch):
        with torch.inference_mode():
            return self.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits

    def postprocess(self, logits):
        likely = logits.softmax(dim=1).max(dim=1)
        return [
            {self.model.config.id2label[label]: share}
            for share, label in zip(likely.values.tolist(), likely.indices.tolist(), strict=True)
        ]
