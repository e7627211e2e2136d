"""A handler that is a coroutine: one request is not one call of it."""

import torch
from ts.torch_handler.base_handler import BaseHandler


class AsyncHandler(BaseHandler):
    def initialize(self, context):
        self.model = torch.nn.Identity()
        self.initialized = True

    async def handle(self, data, context):
        return [0] * len(data)
