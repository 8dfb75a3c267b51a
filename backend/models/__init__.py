"""Pretrained encoders, LoRA and forward passes. Knows no project, no Label Studio and no policy of versions."""
