"""A real Label Studio with real articles and simulated people, to see the loop at work and to test it.

Used by ``ls-active demo`` and by the tests that need a Label Studio. Nothing else in the program depends on it.
"""
