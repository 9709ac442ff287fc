"""The protocol for programs: JSON Schemas of all frames and events, and an AsyncAPI document. Pure.

The files are made from the classes of the frames and events, and from the tables of SPEC.md. ``make schemas`` writes
them.
"""
