"""QC-AAN: a DCGAN whose prior learns, each epoch, the binarised latent layer of the discriminator.

Rudolph et al., "Generation of High-Resolution Handwritten Digits with an Ion-Trap Quantum
Computer", Phys. Rev. X 12, 031010 (arXiv:2012.03924); with a classical prior it is the AAN of
Arici and Celikyilmaz, arXiv:1611.06953.
"""
