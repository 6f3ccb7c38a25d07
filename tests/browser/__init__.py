"""Widgets in a real JupyterLab. As a package, its tests share one browser, which ends with them."""
