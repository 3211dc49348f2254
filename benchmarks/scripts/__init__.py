"""Ten small training programs in PyTorch's style, each run by fastnn and by PyTorch in a process of its own.

``python -m benchmarks.scripts NAME [LIBRARY]`` runs one of them. The library is the variable ``torch`` of ``harness``.
"""
