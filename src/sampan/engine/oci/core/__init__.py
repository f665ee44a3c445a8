"""What a bundle, a stored container and a command mean, decided without touching the machine."""
