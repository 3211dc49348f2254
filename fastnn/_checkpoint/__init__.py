"""Files of PyTorch's format: the pickler that writes them and the unpickler that reads them."""
