"""Where the time of a training step goes: some warm steps recorded by torch's profiler, and a page about them."""
