"""What a network is and how the kernel is told, without telling it."""
