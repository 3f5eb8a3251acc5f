"""hpcp-mpi in jobs of real Slurm daemons, on hosts with addresses, names and mounts of their own."""
