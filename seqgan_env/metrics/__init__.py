"""Metrics: likelihoods under an oracle, n-grams of text, and the temperature frontier."""
