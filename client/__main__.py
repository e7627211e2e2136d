"""`python -m calpow.client` is the command `calpow`."""

import sys

from calpow.client.cli.main import main

sys.exit(main())
