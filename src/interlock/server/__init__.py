"""Functions become handlers."""
