"""Random numbers of a training step as a function of seed, step and rank: a resumed run draws what it would have drawn."""

import hashlib

import torch


def seed_step(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Make the step's dropout start from its own seed, whatever came before."""
    digest = hashlib.blake2b(f"{seed} {step} {rank}".encode(), digest_size=7).digest()
    value = int.from_bytes(digest, "little")
    torch.default_generator.manual_seed(value)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(value)
