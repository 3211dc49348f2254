"""Capture: a forward or a step is traced once, then replayed as a program of kernels while its guards hold."""
