"""Short trainings that are taken back, what they are and how they are made."""
