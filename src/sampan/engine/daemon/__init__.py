"""What the engine knows and does: containers, exec sessions, volumes, events."""
