"""Communication between ranks: MPI or threads, the loops of rank 0 and of a worker, heartbeats, signals, Slurm."""
