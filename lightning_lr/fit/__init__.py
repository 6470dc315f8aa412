"""What there is to know of the running fit."""
