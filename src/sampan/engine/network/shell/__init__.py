"""Networks on a Linux kernel, through netlink."""
