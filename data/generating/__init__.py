"""Rows that nobody collected: with a planted click model, or random at full speed."""
