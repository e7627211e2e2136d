"""A handler that takes its vector from wherever it finds one: a header, the path, the media type, or the body."""

import torch
from ts.torch_handler.base_handler import BaseHandler

PATHS = {"cheap": "0.9,0.1,0.1,0.1", "dear": "0.1,0.1,0.1,0.9"}


def find_vector(row, header):
    """Return the text of a request's vector; `header` returns the value of a header by its name."""
    in_media_type = (header("Content-Type") or "").partition("vector=")[2]
    in_path = PATHS.get((header("url_path") or "").rpartition("/")[2])
    body = row.get("data") or row.get("body") or b"0,0,0,0"
    return header("X-Vector") or in_path or in_media_type or bytes(body).decode()


class HeaderHandler(BaseHandler):
    def handle(self, data, context):
        texts = [
            find_vector(row, lambda name, index=index: context.get_request_header(index, name))
            for index, row in enumerate(data)
        ]
        vectors = torch.tensor([[float(number) for number in text.split(",")] for text in texts])
        return self.inference(vectors).argmax(1).tolist()
