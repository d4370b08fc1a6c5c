"""Molecules as text, SMILES or SELFIES, and what chemistry says of them."""
