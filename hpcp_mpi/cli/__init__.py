"""The command line: parsing, progress, questions, reports. Everything here runs on rank 0 alone."""
