"""A cost model fitted to a machine: what a plan makes each rank do, what that costs, and the hooks into TorchRec."""
