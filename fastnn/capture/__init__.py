"""Capture: a forward or a step is traced once, and replayed as a program of kernels while its guards hold."""
