"""Figures of curves, trials, plans and verdicts, legible on a light and on a dark page."""
