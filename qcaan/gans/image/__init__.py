"""The image QGAN: a circuit, a decoder and a discriminator that draw images."""
