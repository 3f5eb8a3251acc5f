"""Copying into images (-di), on rank 0: `rank0` leads to a `new_image`, to `updating` one, or to `splitting`.

`existing_image` is what is there. `packed_sources` lie below `parents`; `filling` a `volume` copies them, while
`room_watch` looks after the room in it and below it.
"""
