"""What JupyterLab shows of a chat and its tree."""
