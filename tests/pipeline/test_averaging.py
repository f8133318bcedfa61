import pytest
import torch
from torch import nn

from pipeline.training.averaging import WeightAverage


def average_of(*values: float, decay: float = 0.9) -> tuple[nn.Parameter, WeightAverage]:
    """An average that has seen a weight start at 0 and take these values."""
    weight = nn.Parameter(torch.zeros(1))
    average = WeightAverage({"w": weight}, decay)
    for value in values:
        weight.data.fill_(value)
        average.update()
    return weight, average


def test_the_average_follows_its_formula() -> None:
    """Shares kept: min(0.9, 2/11), then min(0.9, 3/12), then with a low decay the decay itself."""
    _, average = average_of(11.0, 4.0)
    _, slow = average_of(11.0, 4.0, decay=0.1)

    assert average.state_dict()["w"].item() == pytest.approx(0.25 * (9 / 11 * 11.0) + 0.75 * 4.0)
    assert slow.state_dict()["w"].item() == pytest.approx(0.1 * (0.9 * 11.0) + 0.9 * 4.0)


def test_the_model_has_its_own_weights_back_after_scoring_with_the_average() -> None:
    weight, average = average_of(11.0)

    with average.in_place():
        assert weight.item() == pytest.approx(9.0)
    assert weight.item() == 11.0
    assert average.state_dict()["w"].item() == pytest.approx(9.0)


def test_a_loaded_average_goes_on_as_the_saved_one() -> None:
    weight, average = average_of(11.0, 4.0)
    other_weight, other = average_of()
    other.load_state_dict({name: value.clone() for name, value in average.state_dict().items()})

    for w, a in ((weight, average), (other_weight, other)):
        w.data.fill_(7.0)
        a.update()

    assert torch.equal(average.state_dict()["w"], other.state_dict()["w"])


def test_without_a_saved_average_it_starts_from_the_weights() -> None:
    weight, average = average_of(11.0)
    average.load_state_dict({})

    assert average.state_dict()["w"].item() == weight.item() == 11.0
