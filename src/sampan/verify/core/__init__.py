"""The pure part: histories, the sequential model, the two checkers and what they tell."""

__all__ = []
