"""Trimtab simulator: the shipping SDK in virtual time."""
