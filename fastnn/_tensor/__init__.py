"""The tensor: its class, its views and their backward, its printing, nested sequences."""
