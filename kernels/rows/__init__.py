"""Rows taken by index: batches and embeddings."""
