"""The command line: parser, main program, progress and report."""
