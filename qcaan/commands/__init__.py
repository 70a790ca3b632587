"""The commands of `qcaan`, which the scripts call too."""
