"""Applications that come with Septet, to be served right after installation."""
