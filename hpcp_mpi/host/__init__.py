"""System calls and commands of one machine, each with its traps, for any rank. Knows no ranks and no operations."""
