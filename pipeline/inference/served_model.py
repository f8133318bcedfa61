"""Parts put together to a model that runs, unsharded, in this process."""

from collections.abc import Mapping

import torch
from torch import Tensor

from models.build import build_ranker
from models.dense_scaling import DenseScale
from models.served import ServedRanker, WeightedServedRanker
from pipeline.inference.dense_types import as_dense_type
from pipeline.inference.model_parts import ModelParts
from pipeline.inference.tables import quantized_tables, split_weights


def served_model(parts: ModelParts) -> ServedRanker:
    """The model on the CPU, in evaluation mode; its weights are those of the parts, not copies."""
    schema, weights = parts.schema, parts.weights
    placeholder = DenseScale(mean=[0.0] * len(schema.dense), std=[1.0] * len(schema.dense))
    ranker = build_ranker(parts.config, schema, dense_scale=placeholder)
    tables, rest = split_weights(weights)
    ranker.load_state_dict(_as_trained(rest), strict=not parts.precision.is_quantized, assign=True)
    kind = WeightedServedRanker if schema.is_weighted else ServedRanker
    served = kind(ranker, parts.loss, schema.sparse_names)
    if parts.precision.tables:
        served.tables = quantized_tables(ranker.ebc, tables, parts.precision.tables, is_weighted=schema.is_weighted)
    as_dense_type(served, parts.precision.dense)
    return served.requires_grad_(requires_grad=False)


def _as_trained(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights that are stored narrower, as float32 where the model computes in float32; tables stay as they are."""
    return {name: weight.float() if weight.dtype == torch.bfloat16 else weight for name, weight in weights.items()}
