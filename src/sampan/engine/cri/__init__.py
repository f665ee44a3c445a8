"""The Kubernetes Container Runtime Interface: pods and containers for a kubelet."""
