import pytest

from data.errors import ConfigError
from pipeline.config import TrainConfig, TrainingConfig
from pipeline.optimizer_config import DenseOptimizerConfig, ScheduleConfig
from pipeline.training.schedules import scale_at
from pipeline.training.stall import Stall, after


def test_evaluations_without_a_gain_are_counted_and_cut_the_rate() -> None:
    """AUCs with a gain of at least 0.01 wanted; a cut after every second evaluation without one."""
    stall, seen = Stall(), []
    for auc in (0.60, 0.65, 0.655, 0.64, 0.65, 0.659, 0.67):
        stall = after(stall, auc, metric="auc", min_gain=0.01, cut_after=2)
        seen.append((stall.evaluations, stall.cuts))

    assert seen == [(0, 0), (0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (0, 2)]
    assert stall == Stall(best=0.67, evaluations=0, since_cut=0, cuts=2)


def test_less_log_loss_is_a_gain() -> None:
    stall = Stall(best=0.5)

    assert after(stall, 0.4, metric="logloss", min_gain=0.0, cut_after=None).evaluations == 0
    assert after(stall, 0.6, metric="logloss", min_gain=0.0, cut_after=None).evaluations == 1


def test_cosine_goes_from_the_rate_to_its_floor() -> None:
    config = ScheduleConfig(kind="cosine", warmup_steps=2, decay_start_step=2, decay_steps=4, floor=0.2)

    # warm-up 1/2, hold, then 0.2 + 0.8 (1 + cos(pi t)) / 2 at t = 0, 1/4, 1/2, 3/4, 1 and from there on
    expected = [0.5, 1.0, 0.2 + 0.4 * (1 + 0.5**0.5), 0.6, 0.2 + 0.4 * (1 - 0.5**0.5), 0.2, 0.2]
    assert [scale_at(config, step) for step in range(7)] == pytest.approx(expected)


def test_steps_and_plateaus_cut_down_to_the_floor() -> None:
    steps = ScheduleConfig(kind="step", cut_every_steps=2, factor=0.5, floor=0.3)
    plateau = ScheduleConfig(kind="plateau", factor=0.5, floor=0.1, warmup_steps=3)

    assert [scale_at(steps, step) for step in range(6)] == [1.0, 1.0, 0.5, 0.5, 0.3, 0.3]
    assert [scale_at(plateau, 10, cuts) for cuts in range(5)] == [1.0, 0.5, 0.25, 0.125, 0.1]
    assert scale_at(plateau, 0, 1) == pytest.approx(1 / 3)  # the warm-up is not cut


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "cosine"}, "set schedule.decay_start_step and schedule.decay_steps"),
        ({"kind": "step"}, "belong together"),
        ({"kind": "constant", "decay_start_step": 1, "decay_steps": 2}, "constant has no decay"),
        ({"factor": 1.0}, r"schedule\.factor is 1\.0"),
        ({"floor": 1.0}, r"schedule\.floor is 1\.0"),
    ],
)
def test_impossible_schedules_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ScheduleConfig(**settings)


def test_plateaus_and_patience_need_evaluations_on_the_way() -> None:
    with pytest.raises(ConfigError, match="plateau needs evaluations"):
        TrainConfig(schedule=ScheduleConfig(kind="plateau"))
    with pytest.raises(ConfigError, match=r"training\.patience needs evaluations"):
        TrainingConfig(patience=2)
    with pytest.raises(ConfigError, match=r"ema_decay is 1\.0"):
        DenseOptimizerConfig(ema_decay=1.0)
