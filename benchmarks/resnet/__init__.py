"""Benchmark of a slow victim: a resnet18, protected, calibrated and used as an owner would."""

# Of the victim and its archive.
NAME = "resnet"
