"""What is in memory: the base model once, versions of projects (least recently used go first), features on disk.

Knows which version is active, not how it came about.
"""
