"""Checks for tests of fastnn: who owns which memory."""
