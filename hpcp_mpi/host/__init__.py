"""System calls and commands on this machine, each with its traps. Knows nothing of ranks and operations."""
