"""Open the notebooks for people: JupyterLab as a ready workspace, and Voila to serve one notebook as an app."""
