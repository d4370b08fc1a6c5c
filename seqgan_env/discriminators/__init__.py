"""Who tells real sequences from generated ones, and how it is trained."""
