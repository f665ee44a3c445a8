"""Sampan: a cloud-native stack in one Python distribution. Build, run, observe."""

__all__ = ["__version__"]

__version__ = "0.1.0"
