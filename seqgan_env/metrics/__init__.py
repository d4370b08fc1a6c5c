"""Metrics: likelihoods and divergences under an oracle, n-grams of text, the referee of real data,
and the score.
"""
