"""Every ranker against its paper's formula: its logits, and every weight after one update."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from data.errors import ConfigError
from models.build import build_ranker
from models.config import CrossConfig, ModelConfig, ProjectionConfig
from models.dense_scaling import DenseScale
from models.mlp import initialised_linear
from models.ranker import Ranker
from models.registry import RANKERS
from models.slices import InSlices
from tests.models.ranker_formulas import BAGS, CONFIGS, DENSE, FORMULAS, LABELS, SCHEMA, multi_hot_ids

LEARNING_RATE = 0.5


def _with_random_weights(name: str) -> Ranker:
    """Every weight away from 0, first-order terms and biases too, so that no part of a formula can hide."""
    ranker = build_ranker(CONFIGS[name], SCHEMA, device="cpu")
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in ranker.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
    return ranker


def _doubles(ranker: Ranker) -> dict[str, Tensor]:
    return {name: weight.detach().double().requires_grad_() for name, weight in ranker.named_parameters()}


def _by_formula(name: str, weights: dict[str, Tensor]) -> Tensor:
    formula = FORMULAS[name]
    return torch.stack([formula(weights, x, bags) for x, bags in zip(DENSE.double(), BAGS, strict=True)])


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_equal_the_papers_formula(name: str):
    ranker = _with_random_weights(name)
    expected = _by_formula(name, _doubles(ranker))
    torch.testing.assert_close(ranker(DENSE, multi_hot_ids()).double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_one_update_moves_every_weight_as_the_papers_formula_does(name: str):
    ranker = _with_random_weights(name)
    weights = _doubles(ranker)
    binary_cross_entropy_with_logits(_by_formula(name, weights), LABELS.double()).backward()
    optimizer = torch.optim.SGD(ranker.parameters(), lr=LEARNING_RATE)
    binary_cross_entropy_with_logits(ranker(DENSE, multi_hot_ids()), LABELS).backward()
    optimizer.step()
    for key, found in ranker.named_parameters():
        gradient = weights[key].grad
        assert gradient is not None, f"{key} has no part in the formula"
        expected = weights[key] - LEARNING_RATE * gradient
        torch.testing.assert_close(
            found.double(), expected, rtol=1e-5, atol=1e-5, msg=lambda text, at=key: f"{at}: {text}"
        )


def test_every_ranker_of_the_registry_has_a_formula_here_and_a_place_in_the_help():
    assert {config.ranker for config in CONFIGS.values()} == set(RANKERS)
    import inspect

    assert all(name in inspect.getsource(ModelConfig) for name in RANKERS)


@pytest.mark.parametrize("name", CONFIGS)
def test_tables_stay_on_meta_and_dense_weights_depend_on_the_seed_alone(name: str):
    first, again, other = (build_ranker(CONFIGS[name], SCHEMA, seed=seed) for seed in (1, 1, 2))
    assert all(weight.is_meta for weight in first.ebc.parameters())
    drawn = {key: weight for key, weight in first.arch.named_parameters() if weight.dim() > 1}
    assert all(torch.equal(weight, again.arch.get_parameter(key)) for key, weight in drawn.items())
    assert not any(torch.equal(weight, other.arch.get_parameter(key)) for key, weight in drawn.items())


def test_linear_layers_start_with_the_references_variances():
    # 400 x 600 weights: the sample deviation lies within 1 % of the formula's (0.15 % standard error), 400 biases within 15 %.
    linear = initialised_linear(600, 400, torch.Generator().manual_seed(0))
    assert linear.weight.std().item() == pytest.approx(math.sqrt(2 / 1000), rel=0.01)
    assert linear.bias.std().item() == pytest.approx(math.sqrt(1 / 400), rel=0.15)


def test_widths_that_do_not_fit_name_both_numbers_and_the_key():
    with pytest.raises(ConfigError, match=r"model.dense_arch ends in 32 but model.embedding_dim is 16"):
        build_ranker(ModelConfig(dense_arch=(32,)), SCHEMA)
    for ranker in ("dlrm", "fm", "deepfm", "xdeepfm", "neural_cf"):
        with pytest.raises(ConfigError, match=r"model.embedding_dims.b is 8 but model.embedding_dim is 16"):
            build_ranker(ModelConfig(ranker=ranker, embedding_dims={"b": 8}), SCHEMA)
    with pytest.raises(ConfigError, match=r"names x, which the data do not have; the tables are a, b, c"):
        build_ranker(ModelConfig(embedding_dims={"x": 8}), SCHEMA)
    with pytest.raises(ConfigError, match=r"ends in 2, but the over arch gives one logit"):
        ModelConfig(over_arch=(8, 2))


@pytest.mark.parametrize("ranker", ["dcn", "dcnv2", "wide_and_deep", "mlp"])
def test_rankers_that_only_concatenate_take_tables_of_different_widths(ranker: str):
    config = ModelConfig(ranker=ranker, embedding_dim=4, embedding_dims={"b": 8})
    assert build_ranker(config, SCHEMA, device="cpu")(DENSE, multi_hot_ids()).shape == (3,)


def test_a_setting_that_the_ranker_does_not_read_is_refused_with_those_that_do():
    with pytest.raises(ConfigError, match=r"model\.cross\.rank is 8, but model\.ranker=dcn does not.*belongs to dcnv2"):
        ModelConfig(ranker="dcn", cross=CrossConfig(rank=8))
    with pytest.raises(ConfigError, match=r"model\.over_arch is .*logistic_regression reads: none of its own"):
        ModelConfig(ranker="logistic_regression", over_arch=(8, 1))
    with pytest.raises(ConfigError, match=r"model\.projection\.num_vectors is 3, but model\.interaction is dot"):
        ModelConfig(projection=ProjectionConfig(num_vectors=3))
    with pytest.raises(ConfigError, match=r"model\.self_interaction is True, but model\.interaction is cat"):
        ModelConfig(interaction="cat", self_interaction=True)


def test_an_unknown_ranker_or_feature_is_answered_with_the_known_ones_nearest_first():
    with pytest.raises(ConfigError, match=r"did you mean xdeepfm or deepfm.*Known: xdeepfm, deepfm"):
        ModelConfig(ranker="xdepfm")
    with pytest.raises(ConfigError, match=r"NoSuchArch cannot be imported from models\.rankers\.fm"):
        build_ranker(ModelConfig(ranker="models.rankers.fm:NoSuchArch"), SCHEMA)
    with pytest.raises(ConfigError, match=r"is no subclass of models\.rankers\.arch\.Arch"):
        build_ranker(ModelConfig(ranker="models.mlp:MLP"), SCHEMA)
    with pytest.raises(ConfigError, match=r"model\.item is 'd', which the data do not have; features: a, b, c"):
        build_ranker(ModelConfig(ranker="neural_cf", item="d"), SCHEMA)


def test_standardised_dense_features_reach_the_arch_at_mean_0_and_deviation_1():
    scale = DenseScale(mean=[1.0, 2.0, 0.0], std=[2.0, 0.5, 0.0])
    plain = build_ranker(ModelConfig(), SCHEMA, device="cpu", seed=1)
    scaled = build_ranker(ModelConfig(standardise_dense=True), SCHEMA, device="cpu", seed=1, dense_scale=scale)
    scaled.ebc.load_state_dict(plain.ebc.state_dict())
    by_hand = torch.stack([(DENSE[:, 0] - 1) / 2, (DENSE[:, 1] - 2) / 0.5, DENSE[:, 2]], dim=1)
    torch.testing.assert_close(scaled(DENSE, multi_hot_ids()), plain(by_hand, multi_hot_ids()))
    assert "standardise.mean" in scaled.state_dict()


def test_standardising_without_statistics_is_refused():
    with pytest.raises(ConfigError, match=r"model\.standardise_dense needs the train split's statistics"):
        build_ranker(ModelConfig(standardise_dense=True), SCHEMA)


def test_scoring_goes_through_the_arch_in_small_slices_and_training_at_once():
    seen, arch = [], torch.nn.Linear(3, 1)
    arch.register_forward_hook(lambda module, given, out: seen.append(len(out)))

    class Arch(torch.nn.Module):
        def forward(self, dense: Tensor, pooled: list[Tensor]) -> Tensor:
            return arch(torch.cat([dense, *pooled], dim=1)).squeeze(1)

    in_slices, rows = InSlices(Arch(), num_slices=1), torch.randn(2500, 3)
    logits = in_slices.eval()(rows[:, :1], [rows[:, 1:]])

    assert seen == [834, 834, 832]
    torch.testing.assert_close(logits, in_slices.train()(rows[:, :1], [rows[:, 1:]]))
    assert seen[3:] == [2500]
