"""Fitting the planner's cost model to a machine: probes, collectives, and the profile that comes of them."""
