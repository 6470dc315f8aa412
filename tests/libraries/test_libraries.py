"""Optimizers, averages and models of other libraries: a fit with a test is its twin, resumed or not."""

import pytest
import torch
from helpers.finders import START, TESTS_OF_LRS
from helpers.real_code import Code
from helpers.real_code.code import listed
from helpers.real_code.left import left_by, told
from torch.optim import SGD, AdamW
from torch.utils.data import TensorDataset

from lightning_lr.finders import Suggestion

REASON = "needs other libraries: `pip install -e '.[libraries]'`"
pytorch_optimizer = pytest.importorskip("pytorch_optimizer", reason=REASON)
schedulefree = pytest.importorskip("schedulefree", reason=REASON)
prodigyopt = pytest.importorskip("prodigyopt", reason=REASON)
transformers = pytest.importorskip("transformers", reason=REASON)
peft = pytest.importorskip("peft", reason=REASON)
torch_ema = pytest.importorskip("torch_ema", reason=REASON)

pytestmark = [
    pytest.mark.libraries,
    pytest.mark.usefixtures("quick_figures"),
    # What they use of newer torch and Python may be deprecated there.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
CASES = {}


def case(kind):
    CASES[kind.__name__] = kind
    return kind


def plain(value):
    """Return what is in a state as numbers and text."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items() if key != "params"}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value if isinstance(value, int | float | str | None) else type(value).__name__


def state_of(optimizer):
    """Return what an optimizer and those inside it keep for each parameter and group."""
    inside = [getattr(optimizer, name, None) for name in ("optimizer", "base_optimizer", "_base_optimizer")]
    return [
        (plain(list(each.state.values())), plain(each.param_groups))
        for each in (optimizer, *inside)
        if each is not None
    ]


class WithOptimizer(Code):
    def state(self):
        return state_of(self.optimizers().optimizer)


def sgd(parameters, lr):
    return SGD(parameters, lr=lr, momentum=0.5)


OPTIMIZERS = {
    "LookaheadOfPytorchOptimizer": lambda p, lr: pytorch_optimizer.Lookahead(sgd(p, lr), k=3),
    "SAM": lambda p, lr: pytorch_optimizer.SAM(p, SGD, lr=lr, momentum=0.5, rho=0.01),
    "AdaBelief": lambda p, lr: pytorch_optimizer.AdaBelief(p, lr=lr),
    "Lion": lambda p, lr: pytorch_optimizer.Lion(p, lr=lr),
    "AdEMAMix": lambda p, lr: pytorch_optimizer.AdEMAMix(p, lr=lr),
    "SOAP": lambda p, lr: pytorch_optimizer.SOAP(p, lr=lr),
    "GaLore": lambda p, lr: pytorch_optimizer.GaLore(p, lr=lr),
    "Prodigy": lambda p, lr: prodigyopt.Prodigy(p, lr=lr),
}
for _name, _make in OPTIMIZERS.items():
    CASES[_name] = type(
        _name,
        (WithOptimizer,),
        {"configure_optimizers": lambda self, make=_make: make(list(self.net.parameters()), self.lr)},
    )


class ScheduleFree(WithOptimizer):
    """As its authors advise: the optimizer is switched between training and evaluation."""

    def make(self):
        raise NotImplementedError

    def configure_optimizers(self):
        return self.make()

    def on_train_epoch_start(self):
        self.optimizers().optimizer.train()

    def on_validation_epoch_start(self):
        self.optimizers().optimizer.eval()

    def on_validation_epoch_end(self):
        self.optimizers().optimizer.train()


@case
class ScheduleFreeSGD(ScheduleFree):
    def make(self):
        return schedulefree.SGDScheduleFree(self.net.parameters(), lr=self.lr, warmup_steps=3)


@case
class ScheduleFreeAdamW(ScheduleFree):
    def make(self):
        return schedulefree.AdamWScheduleFree(self.net.parameters(), lr=self.lr)


@case
class MovingAverage(Code):
    """Kept in an object of no framework, and saved by hand; validation looks at the averages."""

    def __init__(self, lr):
        super().__init__(lr)
        self.average = torch_ema.ExponentialMovingAverage(self.net.parameters(), decay=0.9)

    def on_before_zero_grad(self, optimizer):
        self.average.update()

    def validation_step(self, batch, batch_idx):
        with self.average.average_parameters():
            return super().validation_step(batch, batch_idx)

    def on_save_checkpoint(self, checkpoint):
        checkpoint["average"] = self.average.state_dict()

    def on_load_checkpoint(self, checkpoint):
        self.average.load_state_dict(checkpoint["average"])

    def state(self):
        return plain(self.average.state_dict())


class Text(Code):
    """Learns which token follows which."""

    def __init__(self, lr):
        super().__init__(lr)
        self.net = self.make()

    def make(self):
        config = transformers.GPT2Config(vocab_size=12, n_positions=8, n_embd=8, n_layer=1, n_head=2)
        return transformers.GPT2LMHeadModel(config)

    def data(self):
        start = torch.randint(0, 12, (96, 1), generator=torch.Generator().manual_seed(0))
        return TensorDataset((start + torch.arange(6)) % 12)

    def loss(self, batch):
        return self.net(input_ids=batch[0], labels=batch[0]).loss

    def validation_step(self, batch, batch_idx):
        return self.loss(batch)

    def configure_optimizers(self):
        decayed = [each for each in self.net.parameters() if each.ndim > 1 and each.requires_grad]
        others = [each for each in self.net.parameters() if each.ndim < 2 and each.requires_grad]
        groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
        optimizer = AdamW([group for group in groups if group["params"]], lr=self.lr)
        schedule = transformers.get_linear_schedule_with_warmup(optimizer, 3, 24)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def state(self):
        return state_of(self.optimizers().optimizer), listed(self.net.buffers())


@case
class LanguageModel(Text):
    """With dropout, tied weights and a linear schedule: fine-tuning as transformers' examples do it."""


@case
class Classifier(Text):
    def make(self):
        sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        config = transformers.BertConfig(vocab_size=12, max_position_embeddings=8, num_labels=2, **sizes)
        return transformers.BertForSequenceClassification(config)

    def loss(self, batch):
        return self.net(input_ids=batch[0], labels=(batch[0][:, 0] > 5).long()).loss


@case
class LowRank(Text):
    """A LoRA of a frozen model."""

    def make(self):
        settings = {"r": 2, "lora_alpha": 4, "lora_dropout": 0.1, "fan_in_fan_out": True}
        config = peft.LoraConfig(target_modules=["c_attn"], **settings)
        return peft.get_peft_model(super().make(), config)


@case
class LowRankThatIsSwitched(LowRank):
    """The reference of a preference loss: the same model with its adapters off."""

    def training_step(self, batch, batch_idx):
        with torch.no_grad(), self.net.disable_adapter():
            reference = self.loss(batch)
        return self.loss(batch) + 0.01 * reference


def training_of_both_phases(kind, lr, root, make_callbacks):
    """Fit one epoch, and from its checkpoint another one."""
    first = left_by(kind, lr, root, *make_callbacks(), max_epochs=1, save=True)
    return first, left_by(kind, lr, root, *make_callbacks(), ckpt_path=root / "last.ckpt")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind_of_test", TESTS_OF_LRS)
def test_a_fit_is_its_twin_and_so_is_the_resumed_one(kind_of_test, name, tmp_path):
    made = []

    def make_callbacks():
        made.append(TESTS_OF_LRS[kind_of_test]())
        return made[-1:]

    kind = CASES[name]
    tested = training_of_both_phases(kind, START, tmp_path / "tested", make_callbacks)
    suggestion = made[0].suggestion
    lr = suggestion.lr if isinstance(suggestion, Suggestion) else START
    alone = training_of_both_phases(kind, lr, tmp_path / "plain", list)
    assert tested == alone
    assert not {line["kind"] for line in told(tmp_path / "tested")} & {"trace", "limit"}
