"""What judges the validations: pure functions of a plain state, without a Trainer."""
