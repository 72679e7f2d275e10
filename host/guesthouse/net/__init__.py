"""Outbound networking: the only package that opens sockets towards the world, and the policy that decides which."""
