"""What the supervisor decides: pure."""

__all__: list[str] = []
