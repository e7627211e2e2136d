"""A module-level function handler, as old model servers had them."""

import json
import os

import torch

MODEL = None


def preprocess(data):
    bodies = [row.get("data") or row.get("body") for row in data]
    return torch.tensor([[float(n) for n in bytes(body).decode().split(",")] for body in bodies])


def predict(data, context):
    global MODEL
    if MODEL is None:
        weights = os.path.join(context.system_properties["model_dir"], "vector.pt")
        MODEL = torch.jit.load(weights)
        with open("greeting.json") as file:  # relative to the model's directory, as a worker runs there
            MODEL.greeting = json.load(file)["greeting"]
    if data is None:
        return None
    classes = MODEL(preprocess(data)).argmax(1)
    return [f"{MODEL.greeting} {int(label)}" for label in classes]
