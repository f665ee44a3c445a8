"""What shipping decides: pure."""
