"""From a model, a machine and a strategy to a plan, by TorchRec's planner."""
