"""Decisions that several operations share: equality, excludes, where sources land, what is listed again. Pure."""
