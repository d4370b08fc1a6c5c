"""Melodies of MIDI files, a token a time step."""
