"""Who works on what: messages and the two state machines. Pure: no MPI, no clock, no I/O."""
