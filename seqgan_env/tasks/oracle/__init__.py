"""The synthetic benchmark, whose true distribution is known."""
