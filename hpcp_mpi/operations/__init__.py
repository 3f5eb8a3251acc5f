"""What the program can do, one verb per file. Puts the decisions of `plan` and the effects of `host` together."""
