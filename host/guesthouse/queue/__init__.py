"""Work that was accepted and has not ended: what a restart has to know about."""
