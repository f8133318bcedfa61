"""Every ranker's logit of one row, written from its paper's formula in plain float64 PyTorch: no batches, no TorchRec.

`p` maps parameter names to float64 tensors, `x` is the row's dense features, float64 [N], `bags` its ids by feature.
"""

from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from data.schema import Schema, SparseFeature
from models.config import CinConfig, CrossConfig, ModelConfig, ProjectionConfig

Parameters = dict[str, Tensor]
Bags = dict[str, list[int]]

SCHEMA = Schema(
    dense=("i1", "i2", "i3"),
    sparse=tuple(SparseFeature(name=name, num_embeddings=rows) for name, rows in (("a", 7), ("b", 5), ("c", 11))),
)
DENSE = torch.tensor([[0.1, 2.0, 0.0], [1.0, 0.5, 3.0], [0.0, 0.0, 1.0]])
LABELS = torch.tensor([1.0, 0.0, 1.0])
BAGS: list[Bags] = [
    {"a": [1, 2], "b": [0], "c": []},
    {"a": [], "b": [3, 3], "c": [10]},
    {"a": [6], "b": [4], "c": [1, 2, 3]},
]


def multi_hot_ids() -> KeyedJaggedTensor:
    flat = [bags[name] for name in SCHEMA.sparse_names for bags in BAGS]
    values = torch.tensor([id_ for bag in flat for id_ in bag], dtype=torch.int32)
    lengths = torch.tensor([len(bag) for bag in flat], dtype=torch.int32)
    return KeyedJaggedTensor(keys=list(SCHEMA.sparse_names), values=values, lengths=lengths)


def config_of(ranker: str, **settings: object) -> ModelConfig:
    return ModelConfig(ranker=ranker, embedding_dim=4, **settings)  # pyright: ignore[reportArgumentType]


TOWER = {"over_arch": (6, 1)}
ARCHES = {**TOWER, "dense_arch": (8, 4)}
CONFIGS = {
    "dlrm-dot": config_of("dlrm", **ARCHES),
    "dlrm-dot-with-itself": config_of("dlrm", **ARCHES, self_interaction=True, first_order=True),
    "dlrm-cat": config_of("dlrm", **ARCHES, interaction="cat"),
    "dlrm-projection": config_of(
        "dlrm", **ARCHES, interaction="projection", projection=ProjectionConfig(num_vectors=3, hidden=(5,))
    ),
    "dcn": config_of("dcn", **TOWER, cross=CrossConfig(num_layers=2)),
    "dcnv2": config_of("dcnv2", **ARCHES, cross=CrossConfig(num_layers=2, rank=3)),
    "wide_and_deep": config_of("wide_and_deep", **TOWER),
    "deepfm": config_of("deepfm", **TOWER),
    "xdeepfm": config_of("xdeepfm", **TOWER, cin=CinConfig(widths=(3, 2))),
    "fm": config_of("fm"),
    "matrix_factorisation": config_of("matrix_factorisation", user="c", item="a"),
    "neural_cf": config_of("neural_cf", **TOWER, first_order=True),
    "mlp": config_of("mlp", **TOWER),
    "logistic_regression": ModelConfig(ranker="logistic_regression"),
}


def _mlp(p: Parameters, name: str, x: Tensor, *, is_output: bool = True) -> Tensor:
    layers = sorted(int(key.split(".")[-2]) for key in p if key.startswith(f"arch.{name}.") and key.endswith(".weight"))
    for i in layers:
        x = p[f"arch.{name}.{i}.weight"] @ x + p[f"arch.{name}.{i}.bias"]
        x = x if is_output and i == layers[-1] else x.clamp(min=0)
    return x


def _sum_of(p: Parameters, table: str, bag: list[int]) -> Tensor:
    weight = p[f"ebc.embedding_bags.{table}.weight"]
    return sum((weight[id_] for id_ in bag), torch.zeros(weight.shape[1], dtype=torch.float64))


def _embeddings(p: Parameters, bags: Bags) -> list[Tensor]:
    return [_sum_of(p, name, bag) for name, bag in bags.items()]


def _terms(p: Parameters, bags: Bags) -> Tensor:
    return torch.stack([_sum_of(p, f"{name}_first_order", bag).sum() for name, bag in bags.items()]).sum()


def _linear(p: Parameters, x: Tensor, bags: Bags, name: str = "linear") -> Tensor:
    of_dense = sum(p[f"arch.{name}.weight"][i] * x[i] for i in range(len(x)))
    return p[f"arch.{name}.bias"] + of_dense + _terms(p, bags)


def _fields(p: Parameters, x: Tensor, bags: Bags) -> list[Tensor]:
    return [x[i] * p["arch.fields.factors"][i] for i in range(len(x))] + _embeddings(p, bags)


def _deep(p: Parameters, x: Tensor, bags: Bags) -> Tensor:
    return _mlp(p, "over_arch", torch.cat([x, *_embeddings(p, bags)]))[0]


def _dlrm_dot(p: Parameters, x: Tensor, bags: Bags) -> Tensor:
    z = _mlp(p, "dense_arch", x, is_output=False)
    vectors = [z, *_embeddings(p, bags)]
    pairs = [vectors[i] @ vectors[j] for i in range(4) for j in range(i)]
    return _mlp(p, "over_arch", torch.cat([z, torch.stack(pairs)]))[0]


def _dlrm_dot_with_itself(p: Parameters, x: Tensor, bags: Bags) -> Tensor:
    z = _mlp(p, "dense_arch", x, is_output=False)
    vectors = [z, *_embeddings(p, bags)]
    pairs = [vectors[i] @ vectors[j] for i in range(4) for j in range(i + 1)]
    return _mlp(p, "over_arch", torch.cat([z, torch.stack(pairs)]))[0] + _terms(p, bags)


def _dlrm_cat(p: Parameters, x: Tensor, bags: Bags) -> Tensor:
    return _mlp(p, "over_arch", torch.cat([_mlp(p, "dense_arch", x, is_output=False), *_embeddings(p, bags)]))[0]


def _dlrm_projection(p: Parameters, x: Tensor, bags: Bags) -> Tensor:
    z = _mlp(p, "dense_arch", x, is_output=False)
    vectors = torch.cat([z, *_embeddings(p, bags)])
    left, right = (_mlp(p, f"interaction.{side}", vectors).split(4) for side in ("left", "right"))
    products = [one @ other for one in left for other in right]
    return _mlp(p, "over_arch", torch.cat([z, torch.stack(products)]))[0]


def _dcn(p: Parameters, x: Tensor, bags: Bags) -> Tensor:
    x_0 = x_l = torch.cat([x, *_embeddings(p, bags)])
    for layer in range(2):
        x_l = x_0 * (x_l @ p[f"arch.cross.weight.{layer}"]) + p[f"arch.cross.bias.{layer}"] + x_l
    return p["arch.cross_output.weight"][0] @ x_l + _deep(p, x, bags)


def _dcnv2(p: Parameters, x: Tensor, bags: Bags) -> Tensor:
    x_0 = x_l = torch.cat([_mlp(p, "dense_arch", x, is_output=False), *_embeddings(p, bags)])
    for layer in range(2):
        weight = p[f"arch.cross.up.{layer}"] @ p[f"arch.cross.down.{layer}"]
        x_l = x_0 * (weight @ x_l + p[f"arch.cross.bias.{layer}"]) + x_l
    return _mlp(p, "over_arch", x_l)[0]


def _wide_and_deep(p: Parameters, x: Tensor, bags: Bags) -> Tensor:
    return _linear(p, x, bags, "wide") + _deep(p, x, bags)


def _fm(p: Parameters, x: Tensor, bags: Bags) -> Tensor:
    pairs = [one @ other for one, other in combinations(_fields(p, x, bags), 2)]
    return _linear(p, x, bags) + torch.stack(pairs).sum()


def _deepfm(p: Parameters, x: Tensor, bags: Bags) -> Tensor:
    return _fm(p, x, bags) + _deep(p, x, bags)


def _xdeepfm(p: Parameters, x: Tensor, bags: Bags) -> Tensor:
    fields = maps = _fields(p, x, bags)
    summed = []
    for layer in range(2):
        weight = p[f"arch.cin.weight.{layer}"]
        maps = [
            sum(w[i, j] * maps[i] * fields[j] for i in range(len(maps)) for j in range(len(fields))) for w in weight
        ]
        summed += [each.sum() for each in maps]  # pyright: ignore[reportAttributeAccessIssue]
    return _linear(p, x, bags) + p["arch.cin_output.weight"][0] @ torch.stack(summed) + _deep(p, x, bags)


def _matrix_factorisation(p: Parameters, x: Tensor, bags: Bags) -> Tensor:
    user, item = _sum_of(p, "c", bags["c"]), _sum_of(p, "a", bags["a"])
    return p["arch.mean"] + _terms(p, {"c": bags["c"], "a": bags["a"]}) + user @ item


def _neural_cf(p: Parameters, x: Tensor, bags: Bags) -> Tensor:
    product = _sum_of(p, "a", bags["a"]) * _sum_of(p, "b", bags["b"])
    deep = _mlp(p, "over_arch", torch.cat([_sum_of(p, "a_mlp", bags["a"]), _sum_of(p, "b_mlp", bags["b"])]))[0]
    return p["arch.product_output.weight"][0] @ product + deep + _terms(p, {"a": bags["a"], "b": bags["b"]})


FORMULAS: dict[str, Callable[[Parameters, Tensor, Bags], Tensor]] = {
    "dlrm-dot": _dlrm_dot,
    "dlrm-dot-with-itself": _dlrm_dot_with_itself,
    "dlrm-cat": _dlrm_cat,
    "dlrm-projection": _dlrm_projection,
    "dcn": _dcn,
    "dcnv2": _dcnv2,
    "wide_and_deep": _wide_and_deep,
    "deepfm": _deepfm,
    "xdeepfm": _xdeepfm,
    "fm": _fm,
    "matrix_factorisation": _matrix_factorisation,
    "neural_cf": _neural_cf,
    "mlp": _deep,
    "logistic_regression": _linear,
}
