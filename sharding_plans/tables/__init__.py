"""The tables of a model as plain data."""
