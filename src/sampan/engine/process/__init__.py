"""The daemon's handles on the zygote and on the shims."""
