"""Archs, interactions and rankers: a batch in, logits out. Knows nothing of files or process groups."""
