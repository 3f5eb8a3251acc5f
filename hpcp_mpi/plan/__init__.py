"""Decisions without effects: where things land, what is excluded, what is equal, how work is cut."""
