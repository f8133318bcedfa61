"""Tables on the meta device, as small as a plan needs."""

import torch
from torch import nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig, PoolingType
from torchrec.modules.embedding_modules import EmbeddingBagCollection


def tables(*shapes: tuple[str, int, int], mean: tuple[str, ...] = (), device: str = "meta") -> nn.Module:
    """A module whose `ebc` has tables (name, rows, dim), each looked up by the feature of its name; SUM unless in `mean`."""
    configs = [
        EmbeddingBagConfig(
            name=name,
            feature_names=[name],
            num_embeddings=rows,
            embedding_dim=dim,
            pooling=PoolingType.MEAN if name in mean else PoolingType.SUM,
        )
        for name, rows, dim in shapes
    ]
    return nn.ModuleDict({"ebc": EmbeddingBagCollection(tables=configs, device=torch.device(device))})
