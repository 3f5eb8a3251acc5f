"""Disk images and clones, on rank 0 alone: a module leads, one reads images, each verb has its own.

What is copied is copied by ordinary copies, between directories that are mounted in a namespace of this process.
"""
