"""Sentences of a text file, by words, characters or a tokenizer."""
