"""Commands that compare: priors, fits, and the cases of the quantum GAN."""
