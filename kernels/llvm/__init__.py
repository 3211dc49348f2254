"""Code that kernels are made of: vectors, random bits, mathematical functions, loops over rows, micro-kernels."""
