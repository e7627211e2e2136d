"""Measurement on Fashion-MNIST of what honest users and thieves pay under the default policy."""
