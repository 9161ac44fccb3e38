"""Runners: scores that are computed beside the fold, by ONNX graphs and by plug-ins."""
