from lightning_lr.validation_loss import ValidationLoss, batch_size, returned_loss  # noqa: D100, F401
