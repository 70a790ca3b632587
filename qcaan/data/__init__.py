"""Data sets: labelled images, and samples of distributions over real numbers."""
