"""Which functions there are, which bytes they run, what was compiled from them, and who may use them."""
