"""The quantum GAN over a grid: Zoufal, Lucchi and Woerner, arXiv:1904.00043, as Qiskit Aqua had it."""
