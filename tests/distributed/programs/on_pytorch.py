"""Run a program in a rank that torchrun has started, and end the process without Python's finalization.

Threads of PyTorch's gloo may still hold Python objects when the program is at its end. One of them that asks for the
interpreter while it is finalized aborts the process ("terminate called without an active exception", SIGABRT). That is
rare, and happens after all results are printed.
"""

import os
import runpy
import sys
import traceback

status = 0
del sys.argv[0]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as stop:
    status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
except BaseException:
    traceback.print_exc()
    status = 1
sys.stdout.flush()
sys.stderr.flush()
os._exit(status)
