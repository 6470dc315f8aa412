"""How results reach the user: points, texts, figures and decisions."""
