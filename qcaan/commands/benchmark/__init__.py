"""The command that times the parts that must be fast."""
