"""Checks for tests of fastnn: ownership of memory."""
