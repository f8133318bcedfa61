"""Checkpoints: what is in them, how they become whole, how they are read without trusting them."""
