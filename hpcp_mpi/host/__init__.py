"""Effects on this machine: directories, `cp`, metadata, hashes. Every syscall and command of the project is here."""
