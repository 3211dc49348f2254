"""The runtime of kernels: compilation, cache, launches, programs, the thread pool, memory."""
