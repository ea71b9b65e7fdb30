# SPDX-License-Identifier: MIT
"""A bounds-checked reader of HDF5 files, for weights that nobody has vouched for.

The HDF5 library trusts its input: one flipped byte can make it loop for ever or crash the process. This reader looks
at every offset before it follows it, verifies the checksums that there are, and does a bounded amount of work. Layouts
and names of structures are those of the HDF5 File Format Specification.

Read: superblocks 0 to 3; groups, old and new; arrays of integers, floats, booleans and complex numbers of either byte
order, in their header, in one piece or in chunks, with deflate, shuffle and fletcher32; fill values; text attributes.
Refused by name: soft and external links, external storage and virtual datasets (nothing leaves the file), other
filters, named and other types, and the chunk indexes of arrays that can grow in files of HDF5 1.10 and later formats.
"""

from .objects import MAGIC, Dataset, File, Group, Item

__all__ = ["MAGIC", "Dataset", "File", "Group", "Item"]
