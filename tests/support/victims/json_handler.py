"""A handler that reads JSON: a list of vectors, or an object with the list `instances`."""

import torch
from ts.torch_handler.base_handler import BaseHandler


class JsonHandler(BaseHandler):
    def preprocess(self, data):
        bodies = [row["body"] for row in data]
        lists = [body["instances"] if isinstance(body, dict) else body for body in bodies]
        self.sizes = [len(vectors) for vectors in lists]
        return torch.tensor([vector for vectors in lists for vector in vectors])

    def postprocess(self, data):
        return [classes.tolist() for classes in data.argmax(1).split(self.sizes)]
