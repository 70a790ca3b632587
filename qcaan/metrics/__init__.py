"""Scores of images, bits and real numbers, and the classifier that images need."""
