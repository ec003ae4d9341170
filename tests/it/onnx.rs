//! Graphs in the ONNX format, written byte by byte: encoders small enough to read.

/// A field of a message: its number, and what it holds.
fn field(number: u64, value: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 127 {
        bytes.push(u8::try_from(value & 127).unwrap() | 128);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

/// A tensor of `f32` of this name; a dimension is a number, or a name when it is open.
pub(crate) fn tensor(name: &str, dims: &[&str]) -> Vec<u8> {
    let dim = |dim: &&str| match dim.parse() {
        Ok(fixed) => field(1, &number(1, fixed)),
        Err(_) => field(1, &field(2, dim.as_bytes())),
    };
    let shape: Vec<u8> = dims.iter().flat_map(dim).collect();
    let kind = field(1, &[number(1, 1), field(2, &shape)].concat());
    [field(1, name.as_bytes()), field(2, &kind)].concat()
}

/// One operation from `input` to `output`, with lists of whole numbers as its attributes.
pub(crate) fn node(operation: &str, input: &str, output: &str, attributes: &[(&str, &[u64])]) -> Vec<u8> {
    let attribute = |(name, values): &(&str, &[u64])| {
        let values: Vec<u8> = values.iter().flat_map(|value| number(8, *value)).collect();
        field(5, &[field(1, name.as_bytes()), values, number(20, 7)].concat())
    };
    let attributes: Vec<u8> = attributes.iter().flat_map(attribute).collect();
    [field(1, input.as_bytes()), field(2, output.as_bytes()), field(4, operation.as_bytes()), attributes].concat()
}

/// A whole file.
pub(crate) fn model(nodes: &[Vec<u8>], inputs: &[Vec<u8>], outputs: &[Vec<u8>]) -> Vec<u8> {
    let many = |number, parts: &[Vec<u8>]| parts.iter().flat_map(|part| field(number, part)).collect::<Vec<u8>>();
    let graph = [many(1, nodes), field(2, b"tiny"), many(11, inputs), many(12, outputs)].concat();
    [number(1, 7), field(8, &number(2, 13)), field(7, &graph)].concat()
}

/// The mean colour of each cell of `cells` by `cells`, of a picture of `side` by `side`: reds, greens, then blues.
pub(crate) fn colours(side: u64, cells: u64) -> Vec<u8> {
    let cell = side / cells;
    let pool: [(&str, &[u64]); 2] = [("kernel_shape", &[cell, cell]), ("strides", &[cell, cell])];
    let nodes = [node("AveragePool", "picture", "pooled", &pool), node("Flatten", "pooled", "features", &[])];
    let side = side.to_string();
    let features = (3 * cells * cells).to_string();
    model(&nodes, &[tensor("picture", &["N", "3", &side, &side])], &[tensor("features", &["N", &features])])
}
