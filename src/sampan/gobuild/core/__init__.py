"""What is known of Go's targets, binaries and failures; pure."""
