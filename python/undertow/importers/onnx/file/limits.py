# SPDX-License-Identifier: MIT
"""What an ONNX file may ask for at most. The one place where these limits stand."""

#: bytes of the .onnx file itself (protobuf cannot hold more)
MAX_FILE_BYTES = 2**31 - 1
#: bytes of one tensor, and of all tensors together, external data included
MAX_TENSOR_BYTES = 2**31 - 1
MAX_TOTAL_BYTES = 4 * 2**30
#: nodes, those inside of If, Loop and Scan bodies included
MAX_NODES = 2**14
#: bytes of functions, each as often as it is called
MAX_INLINED_BYTES = 2**28
#: bytes that nodes, attributes and names may take once they are parsed, however large the file
MAX_PARSED_BYTES = 2**27
#: inputs and outputs of the model, weights not counted
MAX_PORTS = 512
#: graphs inside of graphs
MAX_NESTING = 16
#: rounds of a Loop or Scan that is written out or computed while loading (one that is the time axis has no limit)
MAX_TRIPS = 4096
#: axes of one tensor
MAX_RANK = 16
#: elements of all walks through the graph together, beyond which no other reading of the axes is tried, and so many
#: more for each byte of the file; a node counts as many of them as take its time
EFFORT, EFFORT_EACH, MAX_EFFORT = 2**26, 2**6, 2**28
#: elements of a constant that is computed while loading (ConstantOfShape, Expand, Tile, Range ...)
MAX_FOLDED_ELEMENTS = 2**25
#: elements of all constants that are computed while loading, together
MAX_FOLDED_TOTAL = 2**27
#: elements of one computed tensor at the sizes that are tried for batch and time
MAX_TRACED_ELEMENTS = 2**24
#: elements of all traced tensors of one walk through the graph, together
MAX_TRACED_TOTAL = 2**27
#: elements that take as long as a node does, which computes on few: some 0.2 ms
ELEMENTS_PER_NODE = 2**12
#: inputs and outputs that a node has; one with more of them counts once more for each
PORTS_PER_NODE = 2**5
#: the same for an input of a reading that is looked at, before it is tried
ELEMENTS_PER_OPTION = 2**9
#: ways to read the axes of the inputs that are tried
MAX_READINGS = 400
#: oldest operator set: before it, broadcasting followed other rules
MIN_OPSET = 7
#: groups of a convolution that are computed one by one (a depthwise convolution is one op, of any number of channels)
MAX_GROUPS = 256
#: strides, dilations, pads and kernels: elements along one axis
MAX_REACH = 2**24
#: elements of a frame times frames that a convolution or pool along time looks back or ahead
MAX_WINDOW_ELEMENTS = 2**27
#: timesteps that one window along time holds
MAX_TAPS = 2**18
#: products of the strides of a transposed convolution, which is one convolution for each
MAX_PHASES = 4096
#: elements along which CumSum adds up inside one frame (its weight has the square of that)
MAX_SCAN = 4096
#: different exponents in one constant of a Pow node; largest one that is computed by products
MAX_EXPONENTS = 16
MAX_POWER = 64


def nodes_of(n_ports: int) -> int:
    """As how many nodes one with so many inputs and outputs counts."""
    return 1 + max(0, n_ports - PORTS_PER_NODE)
