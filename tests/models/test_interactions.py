"""Interactions against examples worked by hand. Two rows, dense vector and two embeddings, two wide."""

import torch

from models.interactions import DotInteraction, LowRankCrossInteraction

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
