"""A handler without a model file; `how.txt` names the fault in how it calls its model, or in how that answers."""

import torch
from odd_net import OddNet
from ts.torch_handler.base_handler import BaseHandler


class OddHandler(BaseHandler):
    def initialize(self, context):
        with open("how.txt") as file:
            self.how = file.read()
        if self.how == "two models":
            self.encoder, self.head = OddNet("encoder"), OddNet("head")
        elif self.how != "no model":
            self.model = OddNet(self.how)
        self.initialized = True

    def handle(self, data, context):
        self.context = context
        numbers = torch.tensor([[float(n) for n in bytes(row["body"]).decode().split(",")] for row in data])
        if self.how == "refuses":
            context.set_response_status(422, "No", 0)
        else:
            self.ask(numbers)
        return ["asked"] * len(data)

    def ask(self, numbers):
        if self.how == "no call":
            return numbers * 8
        if self.how == "forward":
            return self.model.forward(numbers)
        if self.how == "two tensors":
            return self.model(numbers, again=numbers)
        if self.how == "blind":
            return self.model(torch.ones_like(numbers))
        if self.how == "flat":
            return self.model(numbers[0])
        return self.model(numbers)
