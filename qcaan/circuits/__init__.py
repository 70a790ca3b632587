"""Parametrised circuits, their exact states, their measured bits, and circuits as torch modules."""
