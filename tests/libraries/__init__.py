"""Programs that use libraries made for PyTorch, each in an environment of its own, under fastnn and under PyTorch.

``python -m tests.libraries --help`` lists the options, ``table.py`` has the libraries, and ``programs/`` one program
for each of them.
"""
