"""A custom class handler with a temper: the text after the numbers tells it how to answer."""

import os
import time

import torch
from ts.torch_handler.base_handler import BaseHandler
from ts.utils.util import PredictionException


def read_vector(row):
    """`0.1,0.2,0.3,0.4` or `0.1,0.2,0.3,0.4;COMMAND` -> the numbers and the command."""
    body = row.get("data") or row.get("body")
    text = body if isinstance(body, str) else bytes(body).decode()
    numbers, _, command = text.partition(";")
    vector = [float(number) for number in numbers.split(",")]
    if len(vector) != 4:
        raise ValueError("four numbers, please")
    return vector, command


class VectorHandler(BaseHandler):
    def preprocess(self, data):
        return torch.tensor([read_vector(row)[0] for row in data])

    def handle(self, data, context):
        self.context = context
        if self._is_describe():
            return [{"about": "four numbers in, the largest out"}]
        probabilities = self.inference(self.preprocess(data)).softmax(1)
        answers = [self.answer(index, row, probabilities[index], context) for index, row in enumerate(data)]
        if any(read_vector(row)[1] == "short" for row in data):
            return answers[:-1]
        return answers

    def answer(self, index, row, probabilities, context):
        command = read_vector(row)[1]
        if command == "raise":
            raise ValueError("a bug of the victim")
        if command == "refuse":
            raise PredictionException("not this one", 513)
        if command == "memory":
            raise MemoryError
        if command == "die":
            os._exit(3)
        if command == "sleep":
            time.sleep(1)
        if command == "teapot":
            context.set_response_status(418, "I'm a teapot", index)
            context.set_response_header(index, "x-tea", "green")
        if command == "fail":
            context.set_response_status(500, "Own failure", index)
        if command == "html":
            context.set_response_content_type(index, "text/html; charset=latin-1")
            return "<b>gr\u00fc\u00df</b>"
        return {
            "raw": b"\x00\x01\xff",
            "tensor": torch.arange(4),
            "number": 7,
            "list": [1, {"a": None}],
            "none": None,
            "unwritable": {1, 2},
        }.get(command, {"class": int(probabilities.argmax()), "explained": self._is_explain()})
