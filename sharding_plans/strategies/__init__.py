"""The ways to search for a plan: named strategies, their constraints, partitioners and proposers."""
