"""Second-order terms find planted pairs of ids; without them no weights can express those pairs, and none are found."""

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from benchmarks.planted_ceilings import LEFT, RIGHT, expressible
from data.config import GenerateConfig
from data.criteo import SPARSE_NAMES
from data.generating.planted import PlantedModel, PlantedRows
from data.schema import Schema, SparseFeature
from models.build import build_ranker
from models.config import ModelConfig
from pipeline.metrics.summary import roc_auc
from sharding_plans.applying.apply import initialise_unsharded

NUM_TRAIN, NUM_TEST, BATCH, NUM_EPOCHS = 60_000, 40_000, 400, 2
PAIRED = sorted((*LEFT, *RIGHT))
USER_AND_ITEM = (LEFT[0], RIGHT[0])


@pytest.fixture(scope="module")
def planted() -> tuple[PlantedModel, PlantedRows, PlantedRows]:
    """The rankers see only the eight paired features, of few ids: every pair that has an effect is met often."""
    torch.set_num_threads(1)
    model = PlantedModel(GenerateConfig(cardinality_scale=1e-5, signal=1.5))
    return model, *(model.draw(np.random.default_rng(seed), n) for seed, n in ((1, NUM_TRAIN), (2, NUM_TEST)))


@pytest.fixture(scope="module")
def ceilings(planted: tuple[PlantedModel, PlantedRows, PlantedRows]) -> dict[str, float]:
    model, _, test = planted
    parts = expressible(model, test, USER_AND_ITEM, features=PAIRED, has_dense=False)
    return {kind: roc_auc(part, test.labels) for kind, part in parts.items()}


def _ids(rows: PlantedRows) -> torch.Tensor:
    """Table rows, int64 [8, n], row 0 for missing ids."""
    return torch.tensor(np.where(rows.rank_missing, 0, rows.ranks + 1)[PAIRED])


def _kjt(ids: torch.Tensor) -> KeyedJaggedTensor:
    lengths = torch.ones(ids.numel(), dtype=torch.int32)
    return KeyedJaggedTensor(keys=[SPARSE_NAMES[f] for f in PAIRED], values=ids.flatten().long(), lengths=lengths)


def _test_auc(
    config: ModelConfig, adagrad: dict[str, float], model: PlantedModel, train: PlantedRows, test: PlantedRows
) -> float:
    sizes = [(SPARSE_NAMES[f], model.cardinalities[f] + 1) for f in PAIRED]
    schema = Schema(dense=(), sparse=tuple(SparseFeature(name=name, num_embeddings=size) for name, size in sizes))
    ranker = build_ranker(config, schema, device="cpu", seed=0)
    initialise_unsharded(ranker, 0)
    ids, labels = _ids(train), torch.tensor(train.labels, dtype=torch.float32)
    optimizers = [
        torch.optim.Adagrad(ranker.ebc.parameters(), **adagrad),
        torch.optim.Adam(ranker.arch.parameters(), lr=0.01),
    ]
    for start in list(range(0, NUM_TRAIN, BATCH)) * NUM_EPOCHS:
        rows = slice(start, start + BATCH)
        loss = binary_cross_entropy_with_logits(ranker(torch.empty(BATCH, 0), _kjt(ids[:, rows])), labels[rows])
        ranker.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    with torch.no_grad():
        return roc_auc(ranker(torch.empty(NUM_TEST, 0), _kjt(_ids(test))).numpy(), test.labels)


def test_logistic_regression_reaches_its_own_ceiling_and_no_pair(
    planted: tuple[PlantedModel, PlantedRows, PlantedRows], ceilings: dict[str, float]
) -> None:
    auc = _test_auc(ModelConfig(ranker="logistic_regression"), {"lr": 0.02, "eps": 1e-3}, *planted)

    # 40,000 test rows: the standard error of a difference of AUCs on the same rows is below 0.002; three of them.
    assert auc < ceilings["additive"] + 0.006
    assert auc - 0.5 > 0.9 * (ceilings["additive"] - 0.5)


def test_a_factorization_machine_finds_pairs_that_no_weights_of_a_linear_model_can_express(
    planted: tuple[PlantedModel, PlantedRows, PlantedRows], ceilings: dict[str, float]
) -> None:
    config = ModelConfig(ranker="fm", embedding_dim=4, embedding_init_scale=0.05)
    auc = _test_auc(config, {"lr": 0.1, "eps": 0.01}, *planted)

    # The pairs are worth 0.085 of AUC, half of which these few rows teach; without pairs none of it is there. A third lies five
    # standard errors from both.
    assert ceilings["pairs"] - ceilings["additive"] > 0.08
    assert auc > ceilings["additive"] + (ceilings["pairs"] - ceilings["additive"]) / 3
