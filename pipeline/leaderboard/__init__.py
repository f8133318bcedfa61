"""Rankers side by side: which ones, what they came to, and the table of it."""
