"""``python -m fastnn``: the command line. May import ``cli`` only."""

import sys

from fastnn._cli.main import main

sys.exit(main())
