"""What our callbacks do under `lightning.pytorch` and `pytorch_lightning`: `python cases.py FOLDER`.

Each case is a fork of a process that has imported neither of them, and writes what it found to a file.
"""

import importlib
import json
import os
import re
import runpy
import sys
import traceback
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import jsonargparse  # noqa: F401 (here, so that the forks need not import it)
import matplotlib.backends.backend_agg  # noqa: F401
import sklearn.datasets  # noqa: F401
import torch
import torch.utils.tensorboard
import torchmetrics  # noqa: F401
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.data import DataLoader, TensorDataset

L, P, OURS = "lightning.pytorch", "pytorch_lightning", "lightning_lr"
CASES = {
    # What is imported, one after the other, and whose Trainer it is.
    "lightning": ((L, OURS), L),
    "pytorch_lightning": ((P, OURS), P),
    "before pytorch_lightning": ((OURS, P), P),
    "between, lightning": ((P, OURS, L), L),
    "between, pytorch_lightning": ((L, OURS, P), P),
    "after both, pytorch_lightning": ((L, P, OURS), P),
}
EXAMPLES = {"the example, lightning": L, "the example, pytorch_lightning": P}


def _look(folder, imports, used):
    """Make our callbacks as soon as they can be imported, and use them with one Lightning."""
    callbacks = []
    for name in imports:
        module = importlib.import_module(name)
        if name == OURS:
            callbacks = _callbacks(module)
    own = sys.modules[used]
    return {
        "imported": _imported(),
        "are callbacks": [isinstance(each, own.Callback) for each in callbacks],
        "logged": _logged(own, callbacks, folder),
        "refused": [_refused(own, each) for each in _refusals(own)],
        "averaged": _averaged(own),
        "from YAML": _from_yaml(own, folder),
        "previewed": _previewed(own, folder),
    }


def _run_example(folder, used):
    """Run the main example, written for one Lightning; return what was imported and logged."""
    for name in ("digits.py", "digits.yaml"):
        text = (Path(__file__).parents[3] / "examples" / name).read_text()
        (folder / name).write_text(text.replace(L, used))
    os.chdir(folder)
    sys.argv[:] = ["digits.py", "fit", "--config", "digits.yaml"]
    runpy.run_path("digits.py", run_name="__main__")
    return {"imported": _imported(), "TensorBoard": events(folder / "logs")}


def _imported():
    return [name for name in ("lightning", P) if name in sys.modules]


def _callbacks(ours):
    return [
        ours.LRRangeTest(20, apply=False),
        ours.LRDecay(ours.policies.Cosine(), interval="step", warmup=3),
        ours.PlateauDetector("loss/val", on_plateau=ours.plateau.RestoreBest(factor=0.5)),
        ours.LRLogger(prog_bar=True),
    ]


def _net(own):
    class Net(own.LightningModule):
        def __init__(self, width: int = 4):
            super().__init__()
            torch.manual_seed(0)
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(width, 1)

        def training_step(self, batch, batch_idx):
            return (self.layer(batch[0]) - batch[0].sum(1, keepdim=True)).square().mean()

        def validation_step(self, batch, batch_idx):
            return self.training_step(batch, batch_idx)

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=0.1)

        def train_dataloader(self):
            data = torch.randn(40, self.hparams.width, generator=torch.Generator().manual_seed(1))
            return DataLoader(TensorDataset(data), 4)

        val_dataloader = train_dataloader

    return Net


def _trainer(own, callbacks, **settings):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet |= {"enable_model_summary": False, "accelerator": "cpu", "max_epochs": 3, "num_sanity_val_steps": 0}
    return own.Trainer(callbacks=callbacks, **(quiet | settings))


def _logged(own, callbacks, folder):
    """Return all that a fit logs, and its weights."""
    loggers = [own.loggers.TensorBoardLogger(folder, "tb", ""), own.loggers.CSVLogger(folder, "csv", "")]
    trainer = _trainer(own, callbacks, logger=loggers, enable_progress_bar=True, log_every_n_steps=5)
    model = _net(own)()
    trainer.fit(model)
    told = [json.loads(line) for line in (folder / "tb/decisions.jsonl").read_text().splitlines()]
    return {
        "TensorBoard": events(folder / "tb"),
        "CSV": (folder / "csv/metrics.csv").read_text(),
        "decisions": [{**each, "time": 0} for each in told],
        "hparams.yaml": (folder / "tb/hparams.yaml").read_text(),
        "weights": [each.tolist() for each in model.parameters()],
    }


def events(folder):
    """Return all that event files hold, by folder, kind and tag, without what tells the hour."""
    found = {}
    for path in sorted({each.parent for each in Path(folder).rglob("events.out.tfevents.*")}):
        held = EventAccumulator(str(path), size_guidance=dict.fromkeys(("scalars", "images", "tensors"), 0))
        tags = held.Reload().Tags()
        found[str(path.relative_to(folder))] = {
            "points": {tag: [(e.step, e.value) for e in held.Scalars(tag)] for tag in tags["scalars"]},
            "figures": {
                tag: [(e.step, e.encoded_image_string.hex()) for e in _pictures(held, tag)]
                for tag in tags["images"]
            },
            "texts": {
                tag: [
                    (e.step, [_text(each) for each in e.tensor_proto.string_val]) for e in held.Tensors(tag)
                ]
                for tag in tags["tensors"]
            },
            "HParams": _hparams(held) if "hparams" in path.name else {},
        }
    return found


def _pictures(held, tag):
    # How often the overview is renewed depends on the clock.
    return held.Images(tag)[-1:] if tag == "Overview" else held.Images(tag)


def _text(value):
    return re.sub(r"\d\d:\d\d:\d\d", "the hour", value.decode(errors="replace"))


def _hparams(held):
    data = map(HParamsPluginData.FromString, held.PluginTagToContent("hparams").values())
    return [re.sub("(start|end)_time.*", "", str(each)) for each in data]


def _refusals(own):
    ours, averaging = sys.modules[OURS], own.callbacks.StochasticWeightAveraging(0.1)
    restore = ours.plateau.RestoreBest(source="checkpoint")
    return [
        [ours.LRDecay(), averaging],
        [ours.PlateauDetector("loss/val", on_plateau=restore), averaging],
        ours.LRLogger(),
    ]


def _refused(own, callbacks):
    """Return what a fit is refused for, by an exception of this Lightning; one callback needs no list."""
    try:
        _trainer(own, callbacks).fit(_net(own)())
    except own.utilities.exceptions.MisconfigurationException as error:
        return str(error)


def _averaged(own):
    """Return which averages belong to the weights that PlateauDetector keeps."""
    swa, ema = own.callbacks.StochasticWeightAveraging(0.1, 1), own.callbacks.EMAWeightAveraging()
    neighbors, found = sys.modules[f"{OURS}.fit.neighbors"], []
    for averaging in (swa, ema):
        detector = sys.modules[OURS].PlateauDetector("loss/val")
        trainer, model = _trainer(own, [detector, averaging]), _net(own)()
        trainer.fit(model)
        found.append(sorted(neighbors.averages_of(trainer, model)))
    return found


def _from_yaml(own, folder):
    """Return the callbacks that LightningCLI makes, from a list in YAML and as an option of its own."""
    ours, cli = sys.modules[OURS], importlib.import_module(f"{own.__name__}.cli")

    class CLI(cli.LightningCLI):
        def add_arguments_to_parser(self, parser):
            parser.add_lightning_class_args(ours.LRLogger, "shown")

    (folder / "run.yaml").write_text(
        "trainer: {accelerator: cpu, logger: false, callbacks: [{class_path: lightning_lr.LRDecay, init_args:"
        " {policy: {class_path: Rex}}}]}\nshown: {log_momentum: true}\n"
    )
    made = CLI(_net(own), run=False, save_config_callback=None, args=["--config", str(folder / "run.yaml")])
    [decay] = [each for each in made.trainer.callbacks if isinstance(each, ours.LRDecay)]
    [logger] = [each for each in made.trainer.callbacks if isinstance(each, ours.LRLogger)]
    return [decay.policy == ours.policies.Rex(), logger.log_momentum]


def _previewed(own, folder):
    """Return the plan of a script, and that of a config with the class of the model."""
    preview = importlib.import_module(f"{OURS}.preview.__main__")
    (folder / "models.py").write_text(MODEL.format(own.__name__))
    (folder / "train.py").write_text(SCRIPT.format(own.__name__))
    (folder / "fit.yaml").write_text(CONFIG)
    sys.path.insert(0, str(folder))
    shown = []
    for command in (["train.py"], ["--config", "fit.yaml"]):
        os.chdir(folder)
        with redirect_stdout(StringIO()) as said:
            preview.main(command)
        shown.append(said.getvalue())
    return shown


MODEL = """
import torch
import {0} as pl

class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
    def training_step(self, batch, batch_idx):
        raise AssertionError
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5)
    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.zeros(12, 1), batch_size=4)
"""
SCRIPT = """
from lightning_lr import LRDecay
from {0} import Trainer
from models import Model

Trainer(max_epochs=2, accelerator="cpu", callbacks=[LRDecay()]).fit(Model())
"""
CONFIG = """
trainer: {max_epochs: 2, accelerator: cpu, callbacks: [{class_path: lightning_lr.LRDecay}]}
model: {class_path: models.Model}
"""


def _be(folder, do, *arguments):
    for number, name in ((1, "stdout"), (2, "stderr")):
        with open(folder / name, "w") as file:  # noqa: PTH123
            os.dup2(file.fileno(), number)
    try:
        (folder / "found.json").write_text(json.dumps(do(folder, *arguments)))
    except BaseException:  # noqa: BLE001 (told as the interpreter does)
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(0)


def _main(root):
    warnings.filterwarnings("ignore")
    os.environ["JSONARGPARSE_DEPRECATION_WARNINGS"] = "off"
    jobs = {case: (_look, *given) for case, given in CASES.items()}
    jobs |= {case: (_run_example, used) for case, used in EXAMPLES.items()}
    for case, job in jobs.items():
        (root / case).mkdir()
        child = os.fork()
        if child == 0:
            _be(root / case, *job)
        os.waitpid(child, 0)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
