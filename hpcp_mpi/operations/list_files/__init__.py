"""TODO sign."""
