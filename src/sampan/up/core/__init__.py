"""What the supervisor decides: pure."""
