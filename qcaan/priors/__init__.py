"""Priors of a generator: classical ones, Boltzmann machines, and the quantum Born machine."""
