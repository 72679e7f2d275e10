"""Everything durable: one data directory, one database file in it, one thread that writes to it."""
