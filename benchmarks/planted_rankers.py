"""How much of what it can learn each ranker learns from planted rows: python -m benchmarks.planted_rankers

Generated rows have a known truth, and `benchmarks.planted_ceilings` says what part of it each kind of ranker can express. Here
every ranker is trained once through rows of one stream (in memory, unsharded) and its test AUC held against its own ceiling:
(AUC - 0.5) / (ceiling - 0.5). SETTINGS says for each how many rows and which rates; they were chosen with `--judge validation`,
on rows that are neither trained on nor tested on. The last line is the result as one line of JSON.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from benchmarks.planted_ceilings import KINDS, expressible
from data.config import GenerateConfig
from data.criteo import DENSE_NAMES, SPARSE_NAMES
from data.generating.planted import PlantedModel, PlantedRows
from data.schema import Schema, SparseFeature
from models.build import build_ranker
from models.config import CinConfig, CrossConfig, ModelConfig
from models.ranker import Ranker
from pipeline.metrics.summary import roc_auc
from sharding_plans.applying.apply import initialise_unsharded

USER_AND_ITEM = (5, 8)  # C6 and C9: paired, and of few ids
_SMALL: dict[str, Any] = {"embedding_dim": 8, "embedding_init_scale": 0.05}
_TOWER: dict[str, Any] = {**_SMALL, "over_arch": (64, 1)}
_ARCHES: dict[str, Any] = {**_TOWER, "dense_arch": (64, 8)}
_PAIR: dict[str, Any] = {"user": SPARSE_NAMES[USER_AND_ITEM[0]], "item": SPARSE_NAMES[USER_AND_ITEM[1]]}
_STREAMS = {"validation": 13, "test": 12}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a ranker is trained, once through `rows`, at rates that fall to 0; `eps` fits gradients averaged over a batch."""

    rows: int = 400_000
    lr: float = 0.1
    """Adagrad's, of the tables."""
    eps: float = 0.01
    """Adagrad's."""
    dense_lr: float = 0.005
    """Adam's, of everything else."""
    batch: int = 512


SETTINGS = {
    "fm": Setting(rows=1_000_000, lr=0.2),
    "mlp": Setting(rows=1_000_000, lr=0.4),
    "wide_and_deep": Setting(rows=2_000_000, lr=0.4),
}
RANKERS = {
    "dlrm": ModelConfig(ranker="dlrm", **_ARCHES),
    "dcnv2": ModelConfig(ranker="dcnv2", **_ARCHES, cross=CrossConfig(num_layers=2, rank=16)),
    "dcn": ModelConfig(ranker="dcn", **_TOWER, cross=CrossConfig(num_layers=2)),
    "wide_and_deep": ModelConfig(ranker="wide_and_deep", **_TOWER),
    "deepfm": ModelConfig(ranker="deepfm", **_TOWER),
    "xdeepfm": ModelConfig(ranker="xdeepfm", **_TOWER, cin=CinConfig(widths=(8, 8))),
    "mlp": ModelConfig(ranker="mlp", **_TOWER),
    "fm": ModelConfig(ranker="fm", embedding_dim=4, embedding_init_scale=0.1),
    "logistic_regression": ModelConfig(ranker="logistic_regression"),
    "matrix_factorisation": ModelConfig(ranker="matrix_factorisation", **_SMALL, **_PAIR),
    "neural_cf": ModelConfig(ranker="neural_cf", **_TOWER, **_PAIR),
}


@dataclass(frozen=True)
class Rows:
    """Dense features float32 [n, 13], mean 0 and deviation 1; table rows int64 [26, n], 0 for missing; labels float32 [n]."""

    dense: Tensor
    ids: Tensor
    labels: Tensor


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(1)
    model = PlantedModel(GenerateConfig(cardinality_scale=1e-5, seed=arguments.seed))
    judged = model.draw(np.random.default_rng([arguments.seed, _STREAMS[arguments.judge]]), arguments.judged_rows)
    parts = expressible(model, judged, USER_AND_ITEM)
    ceilings = {kind: roc_auc(part, judged.labels) for kind, part in parts.items()}
    results = {}
    print(f"{'ranker':<22} {'rows':>9} {'lr':>5} {'AUC':>7} {'ceiling':>8} {'of the way':>11} {'seconds':>8}")
    for name in arguments.rankers.split(",") if arguments.rankers else RANKERS:
        setting = _setting(name, arguments)
        started = time.perf_counter()
        auc = _judged_auc(RANKERS[name], setting, model, judged, arguments.seed)
        ceiling = ceilings[KINDS[name]]
        share = (auc - 0.5) / (ceiling - 0.5)
        results[name] = {**asdict(setting), "auc": auc, "ceiling": ceiling, "share": share}
        seconds, rows, lr = time.perf_counter() - started, setting.rows, setting.lr
        print(f"{name:<22} {rows:>9} {lr:>5} {auc:>7.4f} {ceiling:>8.4f} {share:>11.1%} {seconds:>8.0f}", flush=True)
    print(json.dumps({"judged": arguments.judge, "seed": arguments.seed, "rankers": results}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Shares of its own ceiling that each ranker reaches on planted rows.")
    parser.add_argument("--judge", choices=tuple(_STREAMS), default="test", help="validation: to choose settings on")
    parser.add_argument("--judged-rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rankers", default="", help="names, with commas; all when empty")
    for each in fields(Setting):
        parser.add_argument(
            f"--{each.name.replace('_', '-')}", type=type(each.default), help="in place of the setting's"
        )
    return parser.parse_args()


def _setting(name: str, arguments: argparse.Namespace) -> Setting:
    given = {each.name: getattr(arguments, each.name) for each in fields(Setting)}
    return replace(SETTINGS.get(name, Setting()), **{key: value for key, value in given.items() if value is not None})


def _rows(rows: PlantedRows, train: PlantedRows) -> Rows:
    logs, of_train = _logs(rows), _logs(train)
    scaled = (logs - of_train.mean(axis=0)) / of_train.std(axis=0)
    ids = np.where(rows.rank_missing, 0, rows.ranks + 1)
    labels = torch.tensor(rows.labels, dtype=torch.float32)
    return Rows(torch.tensor(scaled, dtype=torch.float32), torch.tensor(ids), labels)


def _logs(rows: PlantedRows) -> np.ndarray:
    return np.log1p(np.maximum(np.where(rows.integer_missing, 0, rows.integers), 0)).T


def _judged_auc(config: ModelConfig, setting: Setting, model: PlantedModel, judged: PlantedRows, seed: int) -> float:
    drawn = model.draw(np.random.default_rng([seed, 11]), setting.rows)
    train, others = _rows(drawn, drawn), _rows(judged, drawn)
    sizes = zip(SPARSE_NAMES, model.cardinalities, strict=True)
    sparse = tuple(SparseFeature(name=name, num_embeddings=size + 1) for name, size in sizes)
    ranker = build_ranker(config, Schema(dense=DENSE_NAMES, sparse=sparse), device="cpu", seed=seed)
    initialise_unsharded(ranker, seed)
    _train(ranker, train, setting)
    with torch.no_grad():
        logits = [_logits(ranker, others, slice(at, at + 10_000)) for at in range(0, len(others.labels), 10_000)]
    return roc_auc(torch.cat(logits).numpy(), others.labels.numpy())


def _train(ranker: Ranker, rows: Rows, setting: Setting) -> None:
    optimizers = [
        torch.optim.Adagrad(ranker.ebc.parameters(), lr=setting.lr, eps=setting.eps),
        torch.optim.Adam(ranker.arch.parameters(), lr=setting.dense_lr),
    ]
    starts = list(range(0, len(rows.labels) - setting.batch + 1, setting.batch))
    rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    for step, start in enumerate(starts):
        batch = slice(start, start + setting.batch)
        for optimizer, rate in zip(optimizers, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * (1 - step / len(starts))
        ranker.zero_grad()
        binary_cross_entropy_with_logits(_logits(ranker, rows, batch), rows.labels[batch]).backward()
        for optimizer in optimizers:
            optimizer.step()


def _logits(ranker: Ranker, rows: Rows, batch: slice) -> Tensor:
    ids = rows.ids[:, batch]
    lengths = torch.ones(ids.numel(), dtype=torch.int32)
    return ranker(rows.dense[batch], KeyedJaggedTensor(keys=list(SPARSE_NAMES), values=ids.flatten(), lengths=lengths))


if __name__ == "__main__":
    main()
