"""The command line: ``fastnn`` and ``fastnn run``."""
