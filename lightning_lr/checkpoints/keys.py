"""The keys under which checkpoints hold the states of callbacks, and what two callbacks of one key hear."""

from inspect import getattr_static
from typing import ClassVar, cast

from lightning_lr.fit.lightnings import BaseCallback, MisconfigurationException, Trainer
from lightning_lr.fit.neighbors import callbacks_of

__all__ = ["KeyedCallback"]


class _Unsettled:
    """A key that no other callback has, for the time before a Trainer sets the callback up.

    The Trainer's constructor refuses two equal keys without a word about what to do instead.
    """

    def __get__(self, callback: "KeyedCallback", owner: type) -> str:
        return f"{callback.own_key} {id(callback):x}"


class KeyedCallback(BaseCallback):
    """A callback of which a Trainer takes one with each key.

    Attributes:
        state_key: Its key in checkpoints. A plain attribute, since Lightning asks before every hook.
        for_several: What to write in the place of two such callbacks.
    """

    state_key: str = cast("str", _Unsettled())
    for_several: ClassVar[str]

    @property
    def own_key(self) -> str:
        """The key of the callback in checkpoints."""
        return type(self).__qualname__

    def settle_key(self, trainer: Trainer) -> None:
        """Take the key for good, in `setup`.

        Raises:
            MisconfigurationException: Another callback of the Trainer has it too.
        """
        key = _key(self)
        if sum(_key(each) == key for each in callbacks_of(trainer, KeyedCallback)) > 1:
            name = type(self).__name__
            raise MisconfigurationException(f"The Trainer has two callbacks {name}. {self.for_several}")
        if _is_settled_here(self):
            self.state_key = key


def _key(callback: KeyedCallback) -> str:
    return callback.own_key if _is_settled_here(callback) else callback.state_key


def _is_settled_here(callback: KeyedCallback) -> bool:
    """Tell whether the key is not that of a subclass, which may have one in Lightning's way."""
    return isinstance(getattr_static(type(callback), "state_key"), _Unsettled)
