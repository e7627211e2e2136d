"""`python -m calpow.client` is the command `calpow`."""

from calpow.client.cli.main import run

run()
