"""Whole runs: Algorithm 1, its settings, and the folder that a run leaves."""
