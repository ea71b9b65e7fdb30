# SPDX-License-Identifier: MIT
"""What an ONNX file may ask for at most. The one place where these limits stand."""

#: bytes of the .onnx file itself (protobuf cannot hold more)
MAX_FILE_BYTES = 2**31 - 1
#: bytes of one tensor, and of all tensors together, external data included
MAX_TENSOR_BYTES = 2**31 - 1
MAX_TOTAL_BYTES = 4 * 2**30
#: nodes, those inside of If, Loop and Scan bodies included
MAX_NODES = 100_000
#: graphs inside of graphs
MAX_NESTING = 16
#: rounds of a Loop or Scan that is written out or computed while loading (one that is the time axis has no limit)
MAX_TRIPS = 4096
#: axes of one tensor
MAX_RANK = 16
#: elements of a constant that is computed while loading (ConstantOfShape, Expand, Tile, Range ...)
MAX_FOLDED_ELEMENTS = 2**26
#: elements of all constants that are computed while loading, together
MAX_FOLDED_TOTAL = 2**28
#: elements of one computed tensor at the sizes that are tried for batch and time
MAX_TRACED_ELEMENTS = 2**24
#: elements of all traced tensors of one walk through the graph, together
MAX_TRACED_TOTAL = 2**27
#: ways to read the axes of the inputs that are tried
MAX_READINGS = 400
#: oldest operator set: before it, broadcasting followed other rules
MIN_OPSET = 7
#: groups of a convolution that are computed one by one (a depthwise convolution is one op, of any number of channels)
MAX_GROUPS = 256
#: elements along which CumSum adds up inside one frame (its weight has the square of that)
MAX_SCAN = 4096
#: different exponents in one constant of a Pow node; largest one that is computed by products
MAX_EXPONENTS = 16
MAX_POWER = 64
