"""Payloads on disk: class folders, media types, and the order of the classes."""
