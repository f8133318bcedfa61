"""Interactions against examples worked by hand. Two rows, dense vector and two embeddings, two wide."""

import pytest
import torch

from models import pair_products
from models.interactions import (
    CompressedInteraction,
    CrossNetwork,
    DotInteraction,
    LowRankCrossInteraction,
    PairwiseProducts,
    ProjectionInteraction,
)
from models.mlp import MLP

DENSE = torch.tensor([[1.0, 2.0], [0.0, 1.0]])
EMBEDDED = torch.tensor([[3.0, 4.0, 5.0, 6.0], [1.0, 1.0, 2.0, 0.0]])


def test_dot_interaction_gives_the_dense_vector_and_each_pair_once():
    # Row 0: e1.d = 3+8, e2.d = 5+12, e2.e1 = 15+24. Row 1: e1.d = 1, e2.d = 0, e2.e1 = 2.
    out = DotInteraction(2, 2, 2)(DENSE, EMBEDDED)
    assert out.tolist() == [[1.0, 2.0, 11.0, 17.0, 39.0], [0.0, 1.0, 1.0, 0.0, 2.0]]


def test_dot_interaction_without_dense_features_pairs_the_embeddings_alone():
    interaction = DotInteraction(0, 2, 2)
    assert interaction.out_features == 1
    assert interaction(torch.empty(2, 0), EMBEDDED).tolist() == [[39.0], [2.0]]


def test_dot_interaction_with_itself_adds_the_squares():
    # Row 0: d.d = 5, e1.d = 11, e1.e1 = 25, e2.d = 17, e2.e1 = 39, e2.e2 = 61. Row 1: 1, 1, 2, 0, 2, 4.
    out = DotInteraction(2, 2, 2, with_itself=True)(DENSE, EMBEDDED)
    assert out.tolist() == [[1.0, 2.0, 5.0, 11.0, 25.0, 17.0, 39.0, 61.0], [0.0, 1.0, 1.0, 1.0, 2.0, 0.0, 2.0, 4.0]]


def test_projection_interaction_multiplies_mixtures_by_hand():
    # One vector each side: left takes d + e1 (row 0: [4, 6], row 1: [1, 2]), right takes e2 ([5, 6] and [2, 0]).
    projection = ProjectionInteraction(2, 2, 2, num_vectors=1)
    eye = torch.eye(2)
    with torch.no_grad():
        for branch, weight in (
            (projection.left, torch.cat([eye, eye, 0 * eye], dim=1)),
            (projection.right, torch.cat([0 * eye, 0 * eye, eye], dim=1)),
        ):
            branch[0].weight.copy_(weight)
            branch[0].bias.zero_()
    assert projection(DENSE, EMBEDDED).tolist() == [[1.0, 2.0, 4 * 5 + 6 * 6], [0.0, 1.0, 1 * 2 + 2 * 0]]


def test_cross_network_follows_its_formula_by_hand():
    # w = [1, 0, -1], b = [0, 1, 0]. Row 0: x = [1, 2, 4], x.w = -3, x_1 = -3 x + b + x = [-2, -3, -8].
    # Row 1: x = [2, 0, 1], x.w = 1, x_1 = [4, 1, 2]. A second layer (same weights) multiplies by x_0 = x:
    # row 0: x_1.w = 6, x_2 = 6 x + b + x_1 = [4, 10, 16]; row 1: x_1.w = 2, x_2 = [8, 2, 4].
    cross = CrossNetwork(3, num_layers=2)
    with torch.no_grad():
        for weight, bias in zip(cross.weight, cross.bias, strict=True):
            weight.copy_(torch.tensor([1.0, 0.0, -1.0]))
            bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
    out = cross(torch.tensor([[1.0, 2.0, 4.0], [2.0, 0.0, 1.0]]))
    assert out.tolist() == [[4.0, 10.0, 16.0], [8.0, 2.0, 4.0]]


def test_pairwise_products_sum_the_dot_products_of_all_pairs():
    # Row 0: d.e1 + d.e2 + e1.e2 = 11 + 17 + 39. Row 1: 1 + 0 + 2.
    vectors = torch.cat([DENSE, EMBEDDED], dim=1).view(2, 3, 2)
    assert PairwiseProducts()(vectors).tolist() == [67.0, 3.0]


def test_compressed_interaction_follows_its_formula_by_hand():
    # Fields e1, e2 of EMBEDDED, one map a layer. Layer 1: W = [[1, 2], [0, 3]]: e1*e1 + 2 e1*e2 + 3 e2*e2 =
    # row 0: [9+30+75, 16+48+108] = [114, 172], sum 286; row 1: [1+4+12, 1+0+0] = [17, 1], sum 18.
    # Layer 2 on that map X: W = [[1, -1]]: X*e1 - X*e2 = row 0: [114*(3-5), 172*(4-6)], sum -572; row 1: [-17, 1], sum -16.
    cin = CompressedInteraction(2, (1, 1))
    with torch.no_grad():
        cin.weight[0].copy_(torch.tensor([[[1.0, 2.0], [0.0, 3.0]]]))
        cin.weight[1].copy_(torch.tensor([[[1.0, -1.0]]]))
    assert cin(EMBEDDED.view(2, 2, 2)).tolist() == [[286.0, -572.0], [18.0, -16.0]]


def test_low_rank_cross_follows_its_formula_by_hand():
    # N = 3 with x_0 = [1, 2, 3], rank 1, U = [1, 1, 1], V = [1, 0, 2]^T, b = [0, 1, 0]:
    # U x = 6, V U x + b = [6, 1, 12], x_1 = x_0 * that + x_0 = [7, 4, 39].
    cross = LowRankCrossInteraction(3, num_layers=1, rank=1)
    with torch.no_grad():
        cross.down[0].copy_(torch.ones(1, 3))
        cross.up[0].copy_(torch.tensor([[1.0], [0.0], [2.0]]))
        cross.bias[0].copy_(torch.tensor([0.0, 1.0, 0.0]))
    assert cross(torch.tensor([[1.0]]), torch.tensor([[2.0, 3.0]])).tolist() == [[7.0, 4.0, 39.0]]


def test_second_cross_layer_multiplies_by_the_input_of_the_first():
    # One wide, U = V = 1, b = 0: x_1 = x0 x0 + x0, x_2 = x0 x_1 + x_1; x0 = 2 gives 6, then 18.
    cross = LowRankCrossInteraction(1, num_layers=2, rank=1)
    with torch.no_grad():
        for weight in (*cross.down, *cross.up):
            weight.fill_(1.0)
    assert cross(torch.tensor([[2.0]]), torch.empty(1, 0)).tolist() == [[18.0]]


def test_low_rank_crosses_in_training_have_autograds_values_and_gradients_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(6)
    cross = LowRankCrossInteraction(4 + 12, num_layers=2, rank=3, generator=generator)
    drawn, found = [torch.randn(9, width, generator=generator) for width in (4, 12)], []
    for is_training in (True, False):  # evaluation goes the plain way, through autograd
        dense, embedded = (values.clone().requires_grad_() for values in drawn)
        cross.zero_grad()
        out = cross.train(is_training)(dense, embedded)
        out.square().sum().backward()
        found.append([out, dense.grad, embedded.grad, *(each.grad for each in cross.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("few", [0, 2**18], ids=["dense apart", "all at once"])
@pytest.mark.parametrize("with_itself", [False, True])
@pytest.mark.parametrize("dense_width", [4, 0])
def test_the_gradient_of_dot_products_by_hand_is_autograds(
    with_itself: bool, dense_width: int, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_products, "_FEW", few)
    generator = torch.Generator().manual_seed(3)
    drawn = [torch.randn(7, width, generator=generator, dtype=torch.float64) for width in (dense_width, 5 * 4)]
    found = []
    for is_training in (True, False):  # evaluation goes the plain way, through autograd
        interaction = DotInteraction(dense_width, 4, 5, with_itself=with_itself).train(is_training)
        dense, embedded = (values.clone().requires_grad_() for values in drawn)
        out = interaction(dense, embedded)
        (out * torch.arange(out.numel()).view_as(out)).sum().backward()
        found.append((out, dense.grad, embedded.grad))
    torch.testing.assert_close(found[0], found[1])
    assert embedded.grad is not None
    assert embedded.grad.is_contiguous()


@pytest.mark.parametrize(("with_itself", "dense_width"), [(False, 4), (True, 4), (True, 0)])
def test_dot_products_slice_by_slice_are_those_of_the_batch_at_once(
    with_itself: bool, dense_width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(8)
    drawn = [torch.randn(50, width, generator=generator) for width in (dense_width, 5 * 4)]
    interaction, found = DotInteraction(dense_width, 4, 5, with_itself=with_itself), []
    for slice_bytes in (2**21, 1500):  # at once; then slices of at most 18 rows of 20 values, 15 of 24
        monkeypatch.setattr(pair_products, "_SLICE_BYTES", slice_bytes)
        dense, embedded = (values.clone().requires_grad_() for values in drawn)
        out = interaction(dense, embedded)
        (out * torch.arange(out.numel()).view_as(out)).sum().backward()
        found.append((out, dense.grad, embedded.grad))
    assert len(pair_products._slices(*drawn)) == (4 if dense_width else 3)
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize(("with_itself", "dense_width"), [(False, 4), (True, 4), (True, 0)])
def test_compiled_dot_products_and_their_gradients_are_the_same_at_any_batch_size(
    with_itself: bool, dense_width: int
) -> None:
    generator = torch.Generator().manual_seed(7)
    interaction = DotInteraction(dense_width, 4, 5, with_itself=with_itself)
    for rows in (7, 40, 33):  # compiled for the first, then once more for every other
        drawn = [torch.randn(rows, width, generator=generator) for width in (dense_width, 5 * 4)]
        found = []
        for interaction.is_compiled in (True, False):
            dense, embedded = (values.clone().requires_grad_() for values in drawn)
            out = interaction(dense, embedded)
            out.square().sum().backward()
            found.append((out, dense.grad, embedded.grad))
        torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("is_output", [False, True])
def test_layers_as_one_step_of_autograd_give_its_values_and_gradients_to_the_bit(is_output: bool) -> None:
    generator = torch.Generator().manual_seed(4)
    mlp = MLP(5, (8, 6, 1), is_output=is_output, generator=generator)
    drawn, found = torch.randn(9, 5, generator=generator), []
    for is_training in (True, False):  # evaluation goes the plain way, through autograd
        x = drawn.clone().requires_grad_()
        mlp.zero_grad()
        out = mlp.train(is_training)(x)
        (out * torch.arange(9.0).unsqueeze(1)).sum().backward()
        found.append([out, x.grad, *(each.grad for each in mlp.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("rows", [33, 600], ids=["as it is", "widened"])
def test_a_wide_layer_of_odd_width_has_the_gradients_of_autograd(rows: int) -> None:
    generator = torch.Generator().manual_seed(5)
    mlp = MLP(415, (256, 1), is_output=True, generator=generator)
    drawn, found = torch.randn(rows, 415, generator=generator), []
    for is_training in (True, False):
        x = drawn.clone().requires_grad_()
        mlp.train(is_training)(x).sum().backward()
        found.append(x.grad)
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("is_output", [False, True])
def test_in_autocast_layers_and_pairs_give_what_autocast_gives(is_output: bool) -> None:
    generator = torch.Generator().manual_seed(6)
    dense_arch = MLP(5, (8, 4), generator=generator)
    over_arch = MLP(4 + 15, (8, 1), is_output=is_output, generator=generator)
    interaction, found = DotInteraction(4, 4, 5), []
    x, embedded = torch.randn(9, 5, generator=generator), torch.randn(9, 20, generator=generator)
    arch = torch.nn.ModuleList([dense_arch, interaction, over_arch])
    for is_training in (True, False):  # evaluation goes the plain way, through autocast and autograd
        arch.train(is_training).zero_grad()
        leaf = embedded.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            out = over_arch(interaction(dense_arch(x), leaf))
        out.float().sum().backward()
        found.append([out, leaf.grad, *(each.grad for each in arch.parameters())])
    assert [each.dtype for each in found[0]] == [torch.bfloat16] + [torch.float32] * (len(found[0]) - 1)
    # bfloat16 keeps 8 bits; only the order of sums differs.
    torch.testing.assert_close(found[0], found[1], rtol=2**-6, atol=2**-6)
