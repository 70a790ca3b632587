"""Commands that train: one for each system."""
