"""Pretrained encoders, LoRA and forward passes. Knows no project, no Label Studio and no policy of versions."""

import os

# Read by OpenMP when torch is imported. Training, predictions and their callers share the cores; threads that spin
# while they wait for one that is not running made an update six times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
