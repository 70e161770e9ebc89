//! SiLU, the activation after nearly every convolution of YOLOv8, in one pass over memory.
//!
//! ONNX Runtime computes `x * sigmoid(x)` in two steps: on bytes `QLinearSigmoid` and `QLinearMul`, a quarter of the int8
//! detector's time, on floats both within `QuickGelu`. A function of one byte is a table of 256 bytes, and of floats it
//! is one loop. Both are operators of ours (`sessions/operators.rs`), known to no optimiser of ONNX Runtime: in an
//! ordinary model they would keep it from laying tensors out as its convolutions want them. So they come in afterwards,
//! into the graph as ONNX Runtime has optimised it; they go value by value, and every layout is theirs.

use std::collections::HashMap;

use super::{Graph, Node, attribute, put, put_number, put_varint, replace_graph};
use crate::bundle::onnx::{Field, each_field, varint};

/// Domain of our operators.
pub(crate) const DOMAIN: &str = "pitchfleet";
/// `y = table[x]` on unsigned bytes.
pub(crate) const BYTE_TABLE: &str = "ByteTable";
/// The attribute of [`BYTE_TABLE`]: 256 integers.
pub(crate) const TABLE: &str = "table";
/// `y = x * sigmoid(x)` on 32-bit floats.
pub(crate) const SILU: &str = "Silu";

/// `optimised` with our operators in place of ONNX Runtime's; `None` when it has no SiLU in a form that is known here.
pub(crate) fn fuse(optimised: &[u8]) -> Option<Vec<u8>> {
    let graph = Graph::of(optimised)?;
    let replacements = replacements(&graph);
    if replacements.is_empty() {
        return None;
    }
    let mut fused = Vec::new();
    for (number, node) in graph.nodes.iter().enumerate() {
        match replacements.get(&number) {
            None => put(&mut fused, 1, node.message),
            Some(Replacement::Nothing) => {}
            Some(Replacement::Node(node)) => put(&mut fused, 1, node),
        }
    }
    graph.put_rest(&mut fused);
    let mut model = replace_graph(optimised, &fused)?;
    let mut domain = Vec::new();
    put(&mut domain, 1, DOMAIN.as_bytes());
    put_number(&mut domain, 2, 1);
    put(&mut model, 8, &domain);
    Some(model)
}

/// What takes a node's place.
enum Replacement {
    Nothing,
    Node(Vec<u8>),
}

fn replacements(graph: &Graph<'_>) -> HashMap<usize, Replacement> {
    let uses = graph.uses();
    // Our operators write over what they read: it has to be a node's, and nobody else's.
    let used = |name: &[u8], times| graph.makers.contains_key(name) && uses.get(name) == Some(&times);
    let mut replacements = HashMap::new();
    for (number, node) in graph.nodes.iter().enumerate() {
        match node.operator {
            b"QuickGelu" if is_silu(node.message) => {
                if let (&[input], &[output]) = (&node.inputs[..], &node.outputs[..])
                    && used(input, 1)
                {
                    replacements.insert(number, Replacement::Node(operator(SILU, input, output, None)));
                }
            }
            b"QLinearMul" => {
                if let Some((sigmoid, fused)) = bytes_silu(graph, node, used) {
                    replacements.insert(sigmoid, Replacement::Nothing);
                    replacements.insert(number, Replacement::Node(fused));
                }
            }
            _ => {}
        }
    }
    replacements
}

/// QuickGelu is `x * sigmoid(alpha * x)`.
fn is_silu(node: &[u8]) -> bool {
    let alpha = attribute(node, "alpha", 2);
    matches!(alpha, Some(Field::Fixed(bytes)) if float(bytes) == Some(1.0))
}

/// The number of the sigmoid that `product` multiplies its own input with, and the node that does the work of both.
fn bytes_silu(
    graph: &Graph<'_>,
    product: &Node<'_>,
    used: impl Fn(&[u8], usize) -> bool,
) -> Option<(usize, Vec<u8>)> {
    let &[a, a_scale, a_zero, b, b_scale, b_zero, scale, zero] = &product.inputs[..] else {
        return None;
    };
    let quantised = |scale, zero| Quantised::read(graph, scale, zero);
    // The product's factors may come in either order.
    [
        (a, (a_scale, a_zero), b, (b_scale, b_zero)),
        (b, (b_scale, b_zero), a, (a_scale, a_zero)),
    ]
    .into_iter()
    .find_map(|(x, of_x, sigmoid, of_sigmoid)| {
        let &[input, in_scale, in_zero, out_scale, out_zero] = graph.behind(sigmoid, "QLinearSigmoid")?
        else {
            return None;
        };
        let x_quantised = quantised(of_x.0, of_x.1)?;
        let sigmoid_quantised = quantised(of_sigmoid.0, of_sigmoid.1)?;
        let same = input == x
            && quantised(in_scale, in_zero)? == x_quantised
            && quantised(out_scale, out_zero)? == sigmoid_quantised;
        let &[output] = &product.outputs[..] else {
            return None;
        };
        if !same || !used(sigmoid, 1) || !used(x, 2) {
            return None;
        }
        let table = table(x_quantised, sigmoid_quantised, quantised(scale, zero)?);
        let number = *graph.makers.get(sigmoid)?;
        Some((number, operator(BYTE_TABLE, x, output, Some(&table))))
    })
}

/// The real number `(byte - zero) * scale` as an unsigned byte.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Quantised {
    scale: f32,
    zero: u8,
}

impl Quantised {
    fn read(graph: &Graph<'_>, scale: &[u8], zero: &[u8]) -> Option<Self> {
        Some(Self {
            scale: float_tensor(graph.initializers.get(scale)?)?,
            zero: byte_tensor(graph.initializers.get(zero)?)?,
        })
    }

    fn steps(self, byte: u8) -> f32 {
        f32::from(byte) - f32::from(self.zero)
    }

    fn byte(self, steps: f32) -> u8 {
        (steps.round_ties_even() + f32::from(self.zero)).clamp(0.0, u8::MAX.into()) as u8
    }
}

/// For every byte what `QLinearSigmoid` and `QLinearMul` give, rounding after each as they do.
fn table(x: Quantised, sigmoid: Quantised, y: Quantised) -> [u8; 256] {
    let ratio = x.scale * sigmoid.scale / y.scale;
    std::array::from_fn(|byte| {
        let x_steps = x.steps(byte as u8);
        let gate = 1.0 / (1.0 + (-x_steps * x.scale).exp());
        let gate = sigmoid.byte(gate / sigmoid.scale);
        y.byte(x_steps * sigmoid.steps(gate) * ratio)
    })
}

/// A node of our domain with one input and one output.
fn operator(kind: &str, input: &[u8], output: &[u8], table: Option<&[u8; 256]>) -> Vec<u8> {
    let mut node = Vec::new();
    put(&mut node, 1, input);
    put(&mut node, 2, output);
    put(&mut node, 3, output);
    put(&mut node, 4, kind.as_bytes());
    if let Some(table) = table {
        let mut numbers = Vec::new();
        for &byte in table {
            put_varint(&mut numbers, byte.into());
        }
        let mut attribute = Vec::new();
        put(&mut attribute, 1, TABLE.as_bytes());
        put(&mut attribute, 8, &numbers);
        // The type: integers.
        put_number(&mut attribute, 20, 7);
        put(&mut node, 5, &attribute);
    }
    put(&mut node, 7, DOMAIN.as_bytes());
    node
}

/// The only value of a tensor of 32-bit floats.
fn float_tensor(tensor: &[u8]) -> Option<f32> {
    let mut kind = 0;
    let mut value = None;
    each_field(tensor, |number, field| {
        match (number, field) {
            (2, Field::Number(number)) => kind = number,
            (4 | 9, Field::Bytes(bytes)) | (4, Field::Fixed(bytes)) => value = float(bytes),
            _ => {}
        }
        Ok(())
    })
    .ok()?;
    value.filter(|value| kind == 1 && *value > 0.0)
}

/// The only value of a tensor of unsigned bytes.
fn byte_tensor(tensor: &[u8]) -> Option<u8> {
    let mut kind = 0;
    let mut value = None;
    each_field(tensor, |number, field| {
        match (number, field) {
            (2, Field::Number(number)) => kind = number,
            (5, Field::Number(number)) => value = u8::try_from(number).ok(),
            (5, Field::Bytes(mut bytes)) => value = u8::try_from(varint(&mut bytes)?).ok(),
            (9, Field::Bytes(&[byte])) => value = Some(byte),
            _ => {}
        }
        Ok(())
    })
    .ok()?;
    value.filter(|_| kind == 2)
}

fn float(bytes: &[u8]) -> Option<f32> {
    bytes.try_into().ok().map(f32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::super::tests::demo;
    use super::*;

    /// x is q / 16 - 8, its sigmoid q / 256, the product q / 32 - 1.
    #[test]
    fn a_table_holds_silu_of_every_byte() {
        let quantised = |scale, zero| Quantised { scale, zero };
        let table = table(
            quantised(1.0 / 16.0, 128),
            quantised(1.0 / 256.0, 0),
            quantised(1.0 / 32.0, 32),
        );
        for (byte, &found) in table.iter().enumerate() {
            let x = byte as f64 / 16.0 - 8.0;
            let silu = f64::from(found) / 32.0 - 1.0;
            // Half a step of the sigmoid, and half a step of the product.
            let tolerance = x.abs() / 512.0 + 1.0 / 64.0;
            let expected = (x / (1.0 + (-x).exp())).min(f64::from(255 - 32) / 32.0);
            assert!(
                (silu - expected).abs() <= tolerance + 1e-6,
                "{x}: {silu} {expected}"
            );
        }
    }

    #[test]
    fn what_has_no_silu_is_left_alone() {
        // Not optimised: `Sigmoid` and `Mul`, which ONNX Runtime has not joined yet.
        for name in ["classifier.int8.onnx", "detector.fp32.onnx"] {
            assert!(fuse(&demo(name)).is_none());
        }
        assert!(fuse(b"").is_none());
        assert!(fuse(b"no model").is_none());
    }
}
