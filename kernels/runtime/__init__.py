"""What runs kernels: compilation, cache, launches, programs, the pool of threads, memory."""
