"""The HTTP service: requests to raw rows, rows to batches, batches to probabilities, all of it in bounds."""
