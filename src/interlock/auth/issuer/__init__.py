"""An authorization server of our own, for one box and for tests."""
