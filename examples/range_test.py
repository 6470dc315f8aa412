"""Look at which learning rates a model can take, without training it.

`python examples/range_test.py [figure.png]` saves the figure and, beside it, the curve as CSV.
"""

import argparse
import warnings
from pathlib import Path

import torch
from digits import DigitsClassifier, DigitsData
from lightning.pytorch import Trainer, seed_everything

from lightning_lr import LRRangeTest
from lightning_lr.finders import Suggestion, read_all


def main() -> None:
    """Run the test and tell what came out."""
    parser = argparse.ArgumentParser(description="LR range test of the digits example.")
    parser.add_argument("figure", type=Path, nargs="?", default=Path("range_test.png"), help="a PNG file")
    path = parser.parse_args().figure
    torch.set_num_threads(1)  # the images are too small to be shared among threads
    warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers", UserWarning)
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)

    seed_everything(0)
    test = LRRangeTest(apply=False, stop_after=True)
    trainer = Trainer(
        max_epochs=1, callbacks=[test], logger=False, enable_checkpointing=False, enable_model_summary=False
    )
    trainer.fit(DigitsClassifier(), DigitsData())

    if test.suggestion is None or test.curve is None:
        return
    print(f"{test.suggestion.text}. {test.suggestion.reason}")
    print("What every rule says:")
    for name, decision in read_all(test.curve).items():
        lr = f"{decision.lr:.3g}" if isinstance(decision, Suggestion) else "none"
        print(f"  {name:<12} {lr:<8} {decision.reason}")
    test.plot().savefig(path)
    test.curve.to_csv(path.with_suffix(".csv"))
    print(f"The figure is in {path}, the curve in {path.with_suffix('.csv')}.")


if __name__ == "__main__":
    main()
