"""What a fit of a case leaves behind, and what it has told."""

import json
import warnings

import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import EarlyStopping

from helpers.toy import trainer

__all__ = ["left_by", "told"]


def left_by(kind, lr, root, *callbacks, save=False, ckpt_path=None, **kwargs):
    """Fit, and return all that must be the same in the twin."""
    kind.folder = root
    root.mkdir(exist_ok=True)
    kind.reset()
    seed_everything(3, verbose=False)
    module = kind(lr)
    stopping = EarlyStopping("loss", patience=9, strict=False, check_on_train_epoch_end=True)
    fit = trainer(stopping, *callbacks, root=root, **({"max_epochs": 2} | kwargs))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Early stopping conditioned on metric")
        fit.fit(module, ckpt_path=ckpt_path, weights_only=False if ckpt_path else None)
    if save:
        fit.save_checkpoint(root / "last.ckpt")
    state = module.state()
    return {
        "weights": [parameter.tolist() for parameter in module.parameters()],
        "LRs": [group["lr"] for optimizer in fit.optimizers for group in optimizer.param_groups],
        "state": state,
        "generator": torch.rand(1).item(),
        "attributes": sorted(vars(module)),
    }


def told(root):
    """Return the decisions that a fit has written."""
    path = root / "run" / "decisions.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]
