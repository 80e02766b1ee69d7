"""``python -m reconcile``: the command line, where no script of that name is on the path."""

import sys

from reconcile.cli.main import main

sys.exit(main())
