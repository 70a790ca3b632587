"""The QGAN of distributions (Zoufal, Lucchi, Woerner, arXiv:1904.00043), as Aqua had it."""
