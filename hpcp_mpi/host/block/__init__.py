"""Block devices and file systems on them: loop devices, private mounts, tables, mkfs. Only images use it."""
