"""Squashfs images, on rank 0, without root too: `making` packs `sources`, with a `check`; `unpacking` reads one."""
