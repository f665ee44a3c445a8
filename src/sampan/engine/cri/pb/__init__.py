"""Generated messages of the Container Runtime Interface, from the .proto files beside them."""
