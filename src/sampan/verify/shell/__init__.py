"""The part with I/O: history files, and clients that write down what they were told."""

__all__ = []
