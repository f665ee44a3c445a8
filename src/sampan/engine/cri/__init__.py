"""The Kubernetes Container Runtime Interface: its messages and streams; not served yet."""
