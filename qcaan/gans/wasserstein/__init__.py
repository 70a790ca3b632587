"""The hybrid WGAN-GP QGAN: a circuit that draws real numbers, against a classical critic."""
