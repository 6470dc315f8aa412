"""Lists of actions and policies as Hydra's `instantiate` hands them over. Skipped without it."""

import pytest

from lightning_lr import policies
from lightning_lr.plateau import RestoreBest, StopTraining
from lightning_lr.policies import Cosine, Linear, MultiStep, Piecewise, Repeat, Sequence

hydra = pytest.importorskip("hydra.utils")


def made(name, **arguments):
    return {"_target_": f"lightning_lr.{name}", **arguments}


POLICIES = {
    "of policies": (
        made(
            "policies.Sequence",
            policies=[made("policies.Linear"), made("policies.Cosine", end=0.5)],
            durations=[3],
        ),
        Sequence([Linear(), Cosine(end=0.5)], durations=[3]),
    ),
    "of numbers": (made("policies.MultiStep", milestones=[3, 6]), MultiStep([3, 6])),
    "nested": (
        made(
            "policies.Product",
            policies=[
                made(
                    "policies.Repeat",
                    policy=made("policies.Piecewise", times=[0, 2], values=[1, 0.5]),
                    period=2,
                )
            ],
        ),
        policies.Product([Repeat(Piecewise([0, 2], [1, 0.5]), 2)]),
    ),
}


@pytest.mark.parametrize("convert", ["none", "partial", "object", "all"])
@pytest.mark.parametrize("case", POLICIES)
def test_a_policy_with_a_list(case, convert):
    config, policy = POLICIES[case]
    decay = hydra.instantiate(made("LRDecay", policy=config, interval="step"), _convert_=convert)
    assert decay.policy == policy
    assert repr(decay.policy) == repr(policy)


@pytest.mark.parametrize("convert", ["none", "all"])
def test_actions_in_a_list(convert):
    actions = [made("plateau.RestoreBest", factor=0.5), made("plateau.StopTraining")]
    config = made("PlateauDetector", monitor="val_loss", on_plateau=actions, on_overfitting=[])
    detector = hydra.instantiate(config, _convert_=convert)
    assert detector.on_plateau == (RestoreBest(0.5), StopTraining())
    assert detector.on_overfitting == ()


FUNCTION = made("policies.Product", policies=[made("policies.Function", function="math.exp")])
REDUCTION = made("PlateauDetector", monitor="val_loss", on_plateau=[made("plateau.ReduceLR", factor=0.5)])


@pytest.mark.parametrize("config", [FUNCTION, REDUCTION])
def test_what_fits_no_config_needs_the_lists_of_python(config):
    """Hydra makes a config of every dataclass in a list, and OmegaConf has no fields of these types."""
    with pytest.raises(Exception, match="Unions of containers are not supported"):
        hydra.instantiate(config)
    hydra.instantiate(config, _convert_="object")


def test_what_is_no_action_is_still_refused():
    config = made("PlateauDetector", monitor="val_loss", on_plateau=[{"factor": 0.5}])
    with pytest.raises(Exception, match=r"must be actions of `lightning_lr.plateau`, got {'factor': 0.5}"):
        hydra.instantiate(config)
