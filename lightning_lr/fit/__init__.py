"""What callbacks need to know about the running fit."""
