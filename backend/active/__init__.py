"""Plain numpy: what is uncertain, what to label next, how good and how honest a model is.

Positions of arrays in, positions of arrays out; no tasks, no torch, no database, no Label Studio.
"""
