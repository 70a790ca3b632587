"""Parametrised circuits: their layers, exact states, distributions of measured bits, and circuits as torch modules."""
