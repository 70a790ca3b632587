"""Samplers by name: simulators, noise models, and the devices of vendors, whose jobs are recorded, retried and planned."""
