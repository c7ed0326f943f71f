"""What the service is measured beside; these programs run in an environment of their own, `.bench-venv`."""
