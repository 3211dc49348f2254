"""``vmap``: tensors with a hidden dimension of the batch, and what operations do with them."""
