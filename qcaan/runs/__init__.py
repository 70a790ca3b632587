"""Run directories: what is saved of a run, loaded back, planned, drawn and scored."""
