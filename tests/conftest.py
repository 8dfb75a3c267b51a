"""What all tests share."""

from backend.telemetry import configure_logging

configure_logging("error")
