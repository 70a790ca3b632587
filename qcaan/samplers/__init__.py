"""Samplers by name: simulators, noise models, and devices with planned and recorded jobs."""
