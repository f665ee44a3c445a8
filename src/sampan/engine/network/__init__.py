"""Container networks: bridges, addresses, published ports, names; by netlink, in pure codecs."""
