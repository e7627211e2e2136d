"""A handler that keeps state wherever Python lets it, and answers with what it knows of its request by then.

It reads the first of the parts, a header, the media type and the path, and empties the JSON that it is given. It was
written for one request at a time: it cleans up after a lone request that fails, and not after a batch.
"""

import torch
from desk import Desk
from ts.protocol.otf_message_handler import send_intermediate_predict_response
from ts.torch_handler.base_handler import BaseHandler

waiting = []


def read(value):
    if isinstance(value, dict):
        return value.pop("vector")
    return value if isinstance(value, str) else bytes(value).decode()


class StatefulHandler(BaseHandler):
    def initialize(self, context):
        super().initialize(context)
        self.sizes, self.desk, self.passes = [], Desk(), 0

    def preprocess(self, data):
        texts = []
        for row in data:
            self.context.metrics.add_counter("asked", 1)
            value = next(iter(row.values()))
            text = read(value)
            texts.append(text)
            self.sizes.append(len(text))
            self.desk.names.append(text)
            Desk.papers.append(text)
            waiting.append(text)
        self.context.lines = getattr(self.context, "lines", []) + texts
        return torch.tensor([[float(number) for number in text.partition(";")[0].split(",")] for text in texts])

    def inference(self, data, *args, **kwargs):
        self.passes += 1
        self.last = data.tolist()
        return super().inference(data)

    def postprocess(self, data):
        count = len(data)
        texts = waiting[-count:]
        if "stream" in texts[0]:
            send_intermediate_predict_response(["first "], self.context.request_ids, "chunk", 200, self.context)
        if any("fail" in text for text in texts):
            if count == 1:
                self.forget(1)
            raise ValueError("a bug of the victim")
        lines, self.context.lines = self.context.lines, []
        return [self.answer(index, int(data[index].argmax()), lines) for index in range(count)]

    def answer(self, index, label, lines):
        headers = self.context.get_all_request_header(index)
        read = {name.lower(): value for name, value in headers.items()}
        return {
            "class": label,
            "state": [
                self.sizes.pop(0),
                self.desk.names.pop(0),
                Desk.papers.pop(0),
                waiting.pop(0),
                lines[index],
                self.last[index],
            ],
            "request": [read.get("x-vector"), read.get("content-type", "").partition(";")[0], read.get("url_path")],
        }

    def explain_handle(self, data_preprocess, raw_data):
        self.forget(len(raw_data))
        return data_preprocess.tolist()

    def forget(self, count):
        for held in (self.sizes, self.desk.names, Desk.papers, waiting):
            del held[-count:]
        self.context.lines = []
