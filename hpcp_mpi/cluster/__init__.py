"""Effects between ranks: the wire, MPI, threads in its place, and the loops that drive the two state machines."""
