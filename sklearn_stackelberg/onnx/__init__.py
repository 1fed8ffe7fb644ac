"""A policy's whole decision as an ONNX graph, for programs without Python."""

from ._export import to_onnx

__all__ = ["to_onnx"]
