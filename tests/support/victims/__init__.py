"""Victims of every kind that TorchServe knows, archived with the stock torch-model-archiver."""
