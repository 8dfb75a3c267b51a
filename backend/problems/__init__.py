"""What can be learned: one module for each kind of control, and the values all of them share.

Numpy only at import time; torch is imported inside the functions that train.
"""
