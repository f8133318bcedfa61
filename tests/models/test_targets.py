"""Several targets: the loss by hand, missing labels, one arch for each on shared tables, three plans, bad settings."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from data.errors import ConfigError
from data.schema import Schema, SparseFeature
from models.build import build_ranker
from models.card import model_card
from models.config import ModelConfig
from models.loss_config import LossConfig, TargetLossConfig
from models.target_losses import TargetLosses
from tests.models.ranker_formulas import CONFIGS
from tests.models.ranker_formulas import SCHEMA as FORMULA_SCHEMA
from tests.models.target_twins import PLANS, RANKERS, train_sharded, train_unsharded

TOLERANCE = 1e-6
NAN = math.nan


def test_a_loss_of_two_targets_and_its_gradient_by_hand() -> None:
    """click: cross entropy, weight 1; buy: squared distance, weight 0.5, positives count three times, row 1 not known."""
    logits = torch.tensor([[0.0, 1.0], [2.0, -3.0], [-1.0, 0.0]], requires_grad=True)
    labels = torch.tensor([[1.0, 0.0], [0.0, NAN], [1.0, 1.0]])
    buy = TargetLossConfig(weight=0.5, kind="mse", class_weights=(1.0, 3.0))

    loss = TargetLosses(LossConfig(targets={"buy": buy}), ("click", "buy"))(logits, labels)
    loss.backward()

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    p, q = [sigmoid(x) for x in (0.0, 2.0, -1.0)], [sigmoid(x) for x in (1.0, -3.0, 0.0)]
    click = -(math.log(p[0]) + math.log(1 - p[1]) + math.log(p[2])) / 3
    bought = (q[0] ** 2 + 3 * (1 - q[2]) ** 2) / 3  # the row that is not known adds nothing and stays in the divisor
    assert loss.item() == pytest.approx(click + 0.5 * bought, abs=1e-6)
    of_click = [(p[0] - 1) / 3, p[1] / 3, (p[2] - 1) / 3]
    of_buy = [
        0.5 * 2 * q[0] * q[0] * (1 - q[0]) / 3,
        0.0,
        0.5 * 3 * 2 * (q[2] - 1) * q[2] * (1 - q[2]) / 3,
    ]
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor([of_click, of_buy]).T, rtol=0, atol=1e-6)


def test_a_batch_in_which_no_label_of_a_target_is_known_learns_the_other() -> None:
    logits = torch.zeros(2, 2, requires_grad=True)
    loss = TargetLosses(LossConfig(), ("click", "buy"))(logits, torch.tensor([[1.0, NAN], [0.0, NAN]]))
    loss.backward()

    assert loss.item() == pytest.approx(math.log(2))
    assert logits.grad is not None
    assert logits.grad.tolist() == [[-0.25, 0.0], [0.25, 0.0]]


@pytest.mark.parametrize("name", CONFIGS)
def test_every_ranker_gives_each_target_what_it_gives_alone(name: str) -> None:
    """With the weights of two single rankers, logits are theirs side by side; embeddings are shared, first-order terms not."""
    schema = Schema(dense=FORMULA_SCHEMA.dense, sparse=FORMULA_SCHEMA.sparse, targets=("click", "buy"))
    both = build_ranker(CONFIGS[name], schema, device="cpu").eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in both.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    num_rows = 5
    dense = torch.randn(num_rows, len(schema.dense), generator=generator)
    ids = [torch.randint(each.num_embeddings, (num_rows,), generator=generator) for each in schema.sparse]
    sparse = KeyedJaggedTensor(
        list(schema.sparse_names), torch.cat(ids), lengths=torch.ones(num_rows * len(ids), dtype=torch.int32)
    )
    expected = []
    for target in schema.targets:
        alone = build_ranker(CONFIGS[name], FORMULA_SCHEMA, device="cpu").eval()
        alone.load_state_dict({key: both.state_dict()[_key_of(key, target)] for key in alone.state_dict()})
        expected.append(alone(dense, sparse))

    torch.testing.assert_close(both(dense, sparse), torch.stack(expected, dim=1), rtol=1e-5, atol=1e-5)


def _key_of(key: str, target: str) -> str:
    return (
        key.replace("arch.", f"arch.target_{target}.", 1)
        if key.startswith("arch.")
        else key.replace("_first_order.", f"_first_order_{target}.")
    )


@pytest.fixture(scope="module")
def sharded(run_on_ranks: Callable[..., list[Any]], tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return run_on_ranks(2, train_sharded, tmp_path_factory.mktemp("targets"))


@pytest.mark.parametrize("name", RANKERS)
def test_sharded_losses_of_two_targets_are_the_unsharded_ones(name: str, sharded: list[dict]) -> None:
    expected, learned = train_unsharded(RANKERS[name])

    assert learned > 1000 * TOLERANCE
    for plan in (*PLANS, "moved"):
        found = torch.stack([rank[name][plan] for rank in sharded]).mean(dim=0)
        torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE, msg=lambda text, at=plan: f"{at}: {text}")


def test_the_card_shows_each_target() -> None:
    schema = Schema(dense=("x",), sparse=(SparseFeature(name="a", num_embeddings=9),), targets=("click", "buy"))
    config = ModelConfig(ranker="wide_and_deep", embedding_dim=4, over_arch=(3, 1))
    card = model_card(config, schema)

    # over arch: 5 * 3 + 3 + 3 + 1; linear part: one weight and a bias
    assert [(part.name, part.parameters) for part in card.parts] == [("target_click", 24), ("target_buy", 24)]
    names = [group.name for group in card.tables]
    assert names == ["embeddings", "first-order terms, click", "first-order terms, buy"]


@pytest.mark.parametrize(
    ("loss", "targets", "message"),
    [
        ({"targets": {"by": TargetLossConfig()}}, ("click", "buy"), "targets.by is no target of the data; its targets are buy"),
        ({"targets": {"buy": TargetLossConfig()}}, (), "they have one label"),
        ({"targets": {"buy": TargetLossConfig(weight=0.0), "click": TargetLossConfig(weight=0.0)}}, ("click", "buy"), "weight 0"),
        ({"negatives_kept": 0.1}, ("click", "buy"), "leaving out negatives of one biases the others"),
    ],
)  # fmt: skip
def test_losses_that_do_not_go_with_the_targets_are_refused(
    loss: dict[str, Any], targets: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        LossConfig(**loss).check_targets(targets)


def test_a_weight_below_0_is_refused() -> None:
    with pytest.raises(ConfigError, match="weight is -1; expected 0 or more"):
        TargetLossConfig(weight=-1)
