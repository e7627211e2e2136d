"""A handler that writes its passes to a file, and changes everything it is given in place."""

import os

import torch
from ts.torch_handler.base_handler import BaseHandler


def read_vectors(row):
    """Lines of four numbers each, one sample a line."""
    body = row.get("data") or row.get("body")
    lines = (body if isinstance(body, str) else bytes(body).decode()).split()
    return [[float(number) for number in line.split(",")] for line in lines]


class CountingHandler(BaseHandler):
    def preprocess(self, data):
        self.sizes = [len(read_vectors(row)) for row in data]
        return torch.tensor([vector for row in data for vector in read_vectors(row)])

    def inference(self, data, *args, **kwargs):
        with open(os.environ.get("PASSES", os.devnull), "a") as file:
            file.write("".join(",".join(f"{number:g}" for number in row) + "\n" for row in data.tolist()))
        with torch.no_grad():
            answers = self.model(data)
            data.zero_()
        return answers

    def postprocess(self, data):
        written = torch.split(data.clone(), self.sizes)
        data.zero_()
        return [answers.tolist() for answers in written]

    def explain_handle(self, data_preprocess, raw_data):
        return [[abs(number) for number in row] for row in data_preprocess.tolist()]
