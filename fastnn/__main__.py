"""``python -m fastnn``: the command line."""

import sys

from fastnn._cli.main import main

sys.exit(main())
