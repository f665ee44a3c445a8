"""The steps carried out on a Linux kernel."""
