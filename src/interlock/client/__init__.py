"""Calls become results."""
