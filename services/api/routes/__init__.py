"""One module per subject: its handlers, then its operations as they are served and documented."""
