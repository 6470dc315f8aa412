"""The detectors: pure functions of a plain state that judge validations, without a Trainer."""
