//! Changes to a network's graph that ONNX Runtime does not make by itself.
//!
//! The file stays as it is: graphs are changed in memory, and only where they are exactly of the form that is known here.
//! Field numbers are those of `onnx.proto3`.

pub(crate) mod detector_head;
pub(crate) mod halves;
pub(crate) mod silu;

use std::collections::HashMap;

use crate::bundle::onnx::{Field, each_field};

/// What is read of a `GraphProto`.
struct Graph<'a> {
    nodes: Vec<Node<'a>>,
    /// Node by the name of what it gives.
    makers: HashMap<&'a [u8], usize>,
    /// Tensor by name.
    initializers: HashMap<&'a [u8], &'a [u8]>,
    /// Names, and `ValueInfoProto`s.
    outputs: Vec<(&'a [u8], &'a [u8])>,
    /// Everything but nodes and outputs.
    others: Vec<(u64, &'a [u8])>,
}

struct Node<'a> {
    message: &'a [u8],
    operator: &'a [u8],
    inputs: Vec<&'a [u8]>,
    outputs: Vec<&'a [u8]>,
}

impl<'a> Graph<'a> {
    /// The graph of a `ModelProto`; `None` when it is not understood, or has graphs within it, which may use what is not
    /// listed among a node's inputs.
    fn of(model: &'a [u8]) -> Option<Self> {
        let mut message = None;
        each_field(model, |number, field| {
            if let (7, Field::Bytes(bytes)) = (number, field) {
                message = Some(bytes);
            }
            Ok(())
        })
        .ok()?;
        let mut graph = Self {
            nodes: Vec::new(),
            makers: HashMap::new(),
            initializers: HashMap::new(),
            outputs: Vec::new(),
            others: Vec::new(),
        };
        each_field(message?, |number, field| {
            let Field::Bytes(bytes) = field else {
                return Err("a number in a graph");
            };
            match number {
                1 => graph.add_node(bytes)?,
                12 => graph.outputs.push((text(bytes, 1)?, bytes)),
                5 => {
                    graph.initializers.insert(text(bytes, 8)?, bytes);
                    graph.others.push((number, bytes));
                }
                _ => graph.others.push((number, bytes)),
            }
            Ok(())
        })
        .ok()?;
        Some(graph)
    }

    fn add_node(&mut self, message: &'a [u8]) -> Result<(), &'static str> {
        let mut node = Node {
            message,
            operator: text(message, 4)?,
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        each_field(message, |number, field| {
            match (number, field) {
                (1, Field::Bytes(name)) => node.inputs.push(name),
                (2, Field::Bytes(name)) => {
                    node.outputs.push(name);
                    self.makers.insert(name, self.nodes.len());
                }
                (5, Field::Bytes(attribute)) => each_field(attribute, |number, _| match number {
                    6 | 11 => Err("a graph within a graph"),
                    _ => Ok(()),
                })?,
                _ => {}
            }
            Ok(())
        })?;
        self.nodes.push(node);
        Ok(())
    }

    /// How often each tensor is an input of a node, or an output of the graph.
    fn uses(&self) -> HashMap<&'a [u8], usize> {
        let mut uses = HashMap::new();
        let inputs = self.nodes.iter().flat_map(|node| &node.inputs);
        for &name in inputs.chain(self.outputs.iter().map(|(name, _)| name)) {
            *uses.entry(name).or_default() += 1;
        }
        uses
    }

    /// Puts everything but nodes.
    fn put_rest(&self, graph: &mut Vec<u8>) {
        for (number, message) in &self.others {
            put(graph, *number, message);
        }
        for (_, output) in &self.outputs {
            put(graph, 12, output);
        }
    }

    /// The inputs of the node that makes `name`, if it is an `operator`.
    fn behind(&self, name: &[u8], operator: &str) -> Option<&[&'a [u8]]> {
        let node = &self.nodes[*self.makers.get(name)?];
        (node.operator == operator.as_bytes()).then_some(&node.inputs)
    }
}

/// `model` with another graph.
fn replace_graph(model: &[u8], graph: &[u8]) -> Option<Vec<u8>> {
    let mut replaced = Vec::with_capacity(model.len());
    each_field(model, |number, field| {
        match (number, field) {
            (7, _) => put(&mut replaced, 7, graph),
            (_, Field::Bytes(bytes)) => put(&mut replaced, number, bytes),
            (_, Field::Number(value)) => put_number(&mut replaced, number, value),
            // A model has none.
            (_, Field::Fixed(_)) => return Err("a field of fixed length"),
        }
        Ok(())
    })
    .ok()?;
    Some(replaced)
}

/// The value of a node's attribute `name`: the field `number` of an `AttributeProto`.
fn attribute<'a>(node: &'a [u8], name: &str, number: u64) -> Option<Field<'a>> {
    let mut value = None;
    each_field(node, |field_number, field| {
        if let (5, Field::Bytes(attribute)) = (field_number, field)
            && text(attribute, 1)? == name.as_bytes()
        {
            each_field(attribute, |n, field| {
                if n == number {
                    value = Some(field);
                }
                Ok(())
            })?;
        }
        Ok(())
    })
    .ok()?;
    value
}

/// The field `number` of `message`, which is text.
fn text(message: &[u8], number: u64) -> Result<&[u8], &'static str> {
    let mut found = None;
    each_field(message, |n, field| {
        if let (true, Field::Bytes(bytes)) = (n == number, field) {
            found = Some(bytes);
        }
        Ok(())
    })?;
    found.ok_or("a name is missing")
}

fn put(message: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(message, number << 3 | 2);
    put_varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

fn put_number(message: &mut Vec<u8>, number: u64, value: u64) {
    put_varint(message, number << 3);
    put_varint(message, value);
}

fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

#[cfg(test)]
mod tests {
    /// A model of the demo bundle.
    pub(super) fn demo(name: &str) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bundles/demo");
        std::fs::read(format!("{folder}/{name}")).unwrap()
    }
}
