"""Where anything is told: points, texts, figures and decisions."""
