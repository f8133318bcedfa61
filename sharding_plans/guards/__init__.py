"""What a plan must keep to so that TorchRec does not go silently wrong."""
