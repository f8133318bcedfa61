"""The AUC doctor: why an AUC is stuck at 0.5, or too good to be true, with evidence in numbers and what to do next."""
