"""Policies that write tokens: language models, how they are fitted, drawn from and turned."""
