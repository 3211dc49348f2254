"""The tape: nodes and the backward pass, modes of recording, hooks."""
