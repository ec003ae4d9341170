"""A graph in the ONNX format, written byte by byte: an encoder small enough to read."""


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, value):
    """A field of a message: a whole number, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor(name, *dims):
    """A tensor of `f32`; a dimension is a number, or a name when it is open."""
    shape = b"".join(field(1, field(1, dim) if isinstance(dim, int) else field(2, dim.encode())) for dim in dims)
    return field(1, name.encode()) + field(2, field(1, field(1, 1) + field(2, shape)))


def node(operation, source, target, **attributes):
    """One operation, with lists of whole numbers as its attributes."""
    parts = [field(1, source.encode()), field(2, target.encode()), field(4, operation.encode())]
    for name, values in attributes.items():
        parts.append(field(5, field(1, name.encode()) + b"".join(field(8, value) for value in values) + field(20, 7)))
    return b"".join(parts)


def colours(side=64, cells=2):
    """The mean colour of each cell of `cells` by `cells`: a file."""
    cell, features = [side // cells] * 2, 3 * cells * cells
    nodes = [node("AveragePool", "picture", "pooled", kernel_shape=cell, strides=cell), node("Flatten", "pooled", "features")]
    graph = b"".join(field(1, one) for one in nodes) + field(2, b"colours")
    graph += field(11, tensor("picture", "N", 3, side, side)) + field(12, tensor("features", "N", features))
    return field(1, 7) + field(8, field(2, 13)) + field(7, graph)
