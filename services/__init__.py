"""The services, one package each; they import shared and never each other."""
