"""From a checkpoint to scores: bundles, exported programs, quantized tables, bulk scoring."""
