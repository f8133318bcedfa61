"""The hardware a plan is for: profiles of machines, real or not, and TorchRec topologies of them."""
