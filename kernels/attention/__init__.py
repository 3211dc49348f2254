"""Attention of queries to keys."""
