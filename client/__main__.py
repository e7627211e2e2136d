"""`python -m calpow.client` is the command `calpow`."""

import sys

from calpow.client.cli import main

sys.exit(main())
