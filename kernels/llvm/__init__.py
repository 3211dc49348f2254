"""Building blocks of kernels: vectors, random bits, mathematical functions, loops over rows, micro-kernels."""
