"""Patches of trees and images, on rank 0: `writing` makes one (-diff), `applying` applies them (-siff).

A patch: its `contents` and `entry_looks` at both trees; `images` around it, `files` in it. `application`: `plan` looks
at every row before `changes` changes anything, and a `mark` tells a run that was ended.
"""
