"""Texts that other programs read or write: file lists, hpcp's table of changes, their order. Pure."""
