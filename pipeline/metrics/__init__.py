"""Exact metrics of scores against labels."""
