"""From a prepared dataset to batches: the order of rows, shares of ranks, decoding ahead."""
