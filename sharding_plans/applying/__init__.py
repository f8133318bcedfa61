"""A plan brought to the live ranks."""
