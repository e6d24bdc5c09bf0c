"""Real servers on loopback, one kind per module, with the fixtures that start them."""
