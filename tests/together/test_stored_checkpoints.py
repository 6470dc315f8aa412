"""Checkpoints that an earlier version has written are read by this one, and the run goes on as it would have.

`stored/` holds what the version before the rooms (0.1.0) wrote, and the LRs, verdicts and decisions of its
uninterrupted run from there on. Never make them again with the code of today: that would test nothing.
"""

import json
from pathlib import Path

import pytest
import torch
from helpers.scripted import Stalling
from helpers.toy import LRTrace, fit
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_lr import LRDecay, LRLogger, LRRangeTest, LRSearch, PlateauDetector
from lightning_lr.plateau import Escape, Patience, ReduceLR, RestoreBest, SlopeTest, StartCooldown
from lightning_lr.policies import Cosine, WarmupStableDecay

STORED = Path(__file__).parent / "stored"
# A reduction rests at the one moment, an escape and a cooldown are on their way at the other.
SAVED_AT = {"range_test": 37, "search": 29}
STEPS, EPOCH = 60, 10


def range_test():
    return [
        LRRangeTest(20),
        LRDecay(Cosine(end=0.01), interval="step", warmup=3),
        PlateauDetector(
            detector=SlopeTest(patience=2, min_improvement=0.2, z=2.0),
            on_plateau=[ReduceLR(0.5, cooldown=3), Escape(quantity="momentum", patience=9)],
            on_overfitting=RestoreBest(),
        ),
        LRLogger(log_momentum=True),
    ]


def search():
    return [
        LRSearch(steps_per_trial=6, budget=60, score="train"),
        LRDecay(WarmupStableDecay(cooldown=24), interval="step", warmup=0.05),
        PlateauDetector(detector=Patience(1), on_plateau=[StartCooldown(), Escape(1.5, patience=9)]),
        LRLogger(),
    ]


RUNS = {"range_test": range_test, "search": search}


def run(name, root, *, saved=None, ckpt_path=None):
    """Run to the end and return the trace of the LRs, the verdicts and the decisions from there on."""
    torch.manual_seed(0)
    callbacks, trace = RUNS[name](), LRTrace()
    if saved is not None:
        callbacks.append(ModelCheckpoint(saved, name, every_n_train_steps=SAVED_AT[name], save_top_k=-1))
    fit(
        Stalling(lambda parameters: torch.optim.SGD(parameters, lr=0.002, momentum=0.9), batches=EPOCH),
        *callbacks,
        trace,
        root=root,
        ckpt_path=ckpt_path,
        max_epochs=STEPS // EPOCH,
        val_check_interval=2,
        log_every_n_steps=5,
        enable_checkpointing=saved is not None,
    )
    told = [json.loads(line) for line in (Path(root) / "run" / "decisions.jsonl").read_text().splitlines()]
    keys = ("step", "source", "kind", "summary", "effect")
    return {
        "lrs": [lrs for step, lrs in sorted(trace.lrs.items()) if step >= SAVED_AT[name]],
        "records": [each.to_dict() for each in callbacks[2].records],
        "decisions": [[line[key] for key in keys] for line in told if line["kind"] != "resume"],
        "found": callbacks[0].suggestion.to_dict(),
    }


def comparable(records):
    """Return what neither torch nor the processor decides: no losses of training, ten digits of the rest."""
    rounded = json.loads(json.dumps(records), parse_float=lambda text: float(f"{float(text):.10g}"))
    return [{key: value for key, value in record.items() if key != "training_loss"} for record in rounded]


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.filterwarnings("ignore:The loaded checkpoint was produced with Lightning")
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning")
@pytest.mark.parametrize("name", RUNS)
def test_a_run_goes_on_from_a_checkpoint_of_an_earlier_version(name, tmp_path):
    wanted = json.loads((STORED / f"{name}.json").read_text())
    went_on = json.loads(json.dumps(run(name, tmp_path, ckpt_path=STORED / f"{name}.ckpt")))
    assert went_on["lrs"] == wanted["lrs"]
    assert len({lr for [lr] in wanted["lrs"]}) > 20
    assert str(comparable(went_on["records"])) == str(comparable(wanted["records"]))
    assert went_on["decisions"] == wanted["decisions"]
    assert went_on["found"] == wanted["found"]
