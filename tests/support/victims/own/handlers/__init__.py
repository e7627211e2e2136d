"""Handlers of classifiers of every kind, which TorchServe loads."""
