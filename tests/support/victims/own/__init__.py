"""Classifiers of every kind as their owners write them: model files, and handlers that TorchServe loads."""
