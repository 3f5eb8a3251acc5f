"""Work stealing: which rank gets which chunk. Pure: messages in, messages out; no MPI, no clock, no I/O."""
