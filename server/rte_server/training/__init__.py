"""Training: labelled recordings to packages of a model file and an ONNX graph. Imports the extra `train` only when it fits."""
