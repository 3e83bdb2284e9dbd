"""How the machine becomes a node, and stays one: join token, key, certificate, renewal."""
