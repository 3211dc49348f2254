"""Activations and dropout, forward and backward."""
