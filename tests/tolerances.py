# SPDX-License-Identifier: MIT
"""Every numeric limit of the project, with its reason. Absolute errors unless the name says otherwise."""

#: Two float64 computations of one formula (oracle, reference): they differ by the order of their sums, about 1e-16 a
#: step, and a recurrent network multiplies that by no more than a few thousand over the test lengths.
FLOAT64_AGREE = 1e-12

#: The engine (float32) against float64: the issue's limit for real models. A float32 sum of some hundred products
#: errs by a few 1e-7, gates squash it, and feedback gathers it.
FLOAT32_MODEL = 1e-5

#: One float32 cell of at most 64 units with inputs and weights of order 1, against float64, over some ten steps:
#: sums of 128 products of order 1 round at 2^-24 each, and activations add their few ULP.
FLOAT32_CELL = 2e-6

#: One timestep of a float32 cell of at most 64 units whose products are known (to the bit for int8 and int4 weights;
#: to the sums of 64 terms for others): activations of a few ULP and a dozen roundings, relative to max(1, |value|).
FLOAT32_UPDATE = 1e-6

#: Another float32 program (ONNX Runtime, PyTorch) against float64: its own rounding, which we do not control.
FLOAT32_PEER = 5e-6

#: TensorFlow Lite's interpreter, where it rounds each frame to 8 bits before weights in 8 bits multiply it, against the
#: same without: half of 1 / 127 of the largest of a frame, through sums of some ten terms and squashed by gates.
TFLITE_FRAMES_IN_8_BITS = 2e-2

#: ONNX's own node tests: the limits that its backend runner applies to everybody.
ONNX_NODE_RTOL = 1e-3
ONNX_NODE_ATOL = 1e-7

#: Vectors that their authors printed with about 6 digits, some of them wrongly rounded: ONNX Runtime itself misses
#: two of them by 6.2e-5.
PRINTED_VECTORS = 7e-5

#: Default of `undertow verify`: FLOAT32_MODEL, as a user meets it.
VERIFY_DEFAULT = 1e-5

#: How far a smooth random model moves when every weight, input and result of a node is off by 2^-20 is its condition;
#: float32 rounds at 2^-24, and the errors of a chain of 130 products and of activations gather to a few times that.
#: So the engine stays within what the largest of SHAKEN such shakes moves an output by, times this for chance; half of
#: one shake is the most that was seen in thousands of models.
CONDITION = 2.0
SHAKEN = 3

#: Beyond this share of the largest number so far, the condition of a model says nothing about its outputs.
ILL_CONDITIONED = 1e-2

#: A graph and what `lookahead.lower` makes of it, both in float64, relative to the largest number: the same operations
#: on the same numbers, but for products of matrices, which NumPy sums in another order for another number of frames,
#: about 1e-15 each. A state may multiply that over the test lengths.
LOWERED = 1e-9
