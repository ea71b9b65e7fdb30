# SPDX-License-Identifier: MIT
"""What a TensorFlow Lite file may ask for at most, before it is a program of ONNX, which has limits of its own."""

#: bytes of the file: offsets in it are signed numbers of 32 bits
MAX_FILE_BYTES = 2**31 - 1
#: graphs, of which one is the model and others are what loops run and ask
MAX_GRAPHS = 256
#: tensors of all graphs, and operators
MAX_TENSORS = 2**16
MAX_OPERATORS = 2**14
#: inputs and outputs of one operator, and of one graph
MAX_PORTS = 2**12
#: fields of one table, those that are not there included
MAX_FIELDS = 64
#: operators that a number is followed through, where it is asked whether it counts the rounds of a loop
MAX_FOLLOWED = 64
#: axes of one tensor
MAX_RANK = 8
#: graphs inside of graphs
MAX_NESTING = 8
#: operators that are translated, those of a graph once for each place where it is run
MAX_TRANSLATED = 2**14
#: bytes that one tensor or operator takes while the file is read, and one port of it
RECORD_BYTES, PORT_BYTES = 2**10, 2**5
