"""The tensor: its class, what its methods record for the backward pass, its printing, nested sequences."""
