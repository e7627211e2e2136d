"""A handler whose worker stops for ever at a step that a file names, so that a test can kill it there.

The file lies in the folder of the environment's STOPS. One worker takes it, and adds its process id to the name.
"""

import os
import signal
import time
from functools import wraps

import torch
from ts.torch_handler.base_handler import BaseHandler

FOLDER = os.environ.get("STOPS", "")


def stop_at(step):
    if step is None:
        return
    try:
        os.rename(os.path.join(FOLDER, step), os.path.join(FOLDER, f"{step}.{os.getpid()}"))
    except OSError:
        return
    while True:
        time.sleep(1)


def stopping(function, before=None, after=None):
    @wraps(function)
    def call(*arguments, **named):
        stop_at(before)
        result = function(*arguments, **named)
        stop_at(after)
        return result

    return call


if FOLDER:  # in a worker, whose ledger stops as well
    from calpow.handler.ledger.sqlite import sqlite_ledger

    ledger = sqlite_ledger.SqliteLedger
    ledger.admit = stopping(ledger.admit, before="admitting", after="admitted")
    ledger.settle = stopping(ledger.settle, before="settling", after="settled")
    sqlite_ledger._settle = stopping(sqlite_ledger._settle, after="in the transaction")


def read(row):
    """`0.1,0.2,0.3,0.4` or `0.1,0.2,0.3,0.4;COMMAND` -> the numbers and the command."""
    numbers, _, command = bytes(row.get("data") or row.get("body")).decode().partition(";")
    return [float(number) for number in numbers.split(",")], command


class StoppingHandler(BaseHandler):
    def preprocess(self, data):
        stop_at("preprocessing")
        self.commands = [read(row)[1] for row in data]
        return torch.tensor([read(row)[0] for row in data])

    def inference(self, data, *args, **kwargs):
        stop_at("before the model")
        return super().inference(data)

    def postprocess(self, data):
        stop_at("after the model")
        if "die" in self.commands:
            os.kill(os.getpid(), signal.SIGKILL)
        if "raise" in self.commands:
            raise ValueError("a bug of the victim")
        return [int(label) for label in data.argmax(1)]
