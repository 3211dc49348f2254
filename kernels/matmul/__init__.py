"""Matrix products: dense, with bias and activation, and with sparse rows."""
