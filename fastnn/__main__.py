"""``python -m fastnn``: the command line. May import ``cli`` only."""

import sys

from fastnn.cli import main

sys.exit(main())
