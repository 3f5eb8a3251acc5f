"""Decisions about images: sizes, tables, treatments, geometry, patches. All of it is pure."""
