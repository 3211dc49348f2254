"""The tape: nodes and their order, what is recorded when, hooks."""
