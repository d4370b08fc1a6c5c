"""Peptides, a token an amino acid, and what simple formulae say of them."""
