"""Training steps of the running fit that leave no trace."""
