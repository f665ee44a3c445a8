"""A registry: OCI distribution 1.1 over the content store that the images of the machine use.

`repositories` and `uploads` keep what is pushed, `identity` knows users and tokens, `service`
answers requests.
"""
