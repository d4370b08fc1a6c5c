"""Measurements: speed, and the learning results that the documentation quotes."""
