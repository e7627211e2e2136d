"""Attacks, speed and the demo, measured on real servers."""

import logging

# TorchServe warns of every optional accelerator that is not installed.
logging.getLogger("ts").setLevel(logging.ERROR)
