"""Scores of images, the classifier that they need, and scores of samples of real numbers."""
