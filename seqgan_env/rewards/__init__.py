"""What a step pays: sources of scores, values of prefixes, and the forms of reward."""
