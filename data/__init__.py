"""Rows in, batches out: schema, generators, preparing, the resumable reader. Knows nothing of models or jobs."""
