"""Training code as people write it: each class keeps its state in another place."""

from helpers.real_code import data, facts, models, objects
from helpers.real_code.code import CASES, NAMED, Code

__all__ = ["CASES", "NAMED", "Code", "data", "facts", "models", "objects"]
