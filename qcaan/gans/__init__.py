"""The systems: algorithms and networks that know no folder."""
