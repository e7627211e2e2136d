"""A helper of stateful_handler.py, which keeps texts on its objects and on its class."""


class Desk:
    papers = []  # noqa: RUF012  # on the class by intent

    def __init__(self):
        self.names = []
