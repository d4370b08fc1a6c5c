"""Choosing settings by validation data: search spaces, trials in step, studies, results.

`seqgan sweep SUITE.toml` runs it; docs/sweeps.md says what it may see and what not.
"""
