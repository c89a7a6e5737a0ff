"""Third parties of the API, a module each."""
