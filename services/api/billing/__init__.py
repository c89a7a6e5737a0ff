"""Plans and payment: what a workspace may have (desk.py), and asking Stripe by ourselves."""
