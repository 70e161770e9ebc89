//! Convolutions whose output is split by channels become convolutions of the parts.
//!
//! Every block of YOLOv8 (C2f) begins so: convolution, SiLU, split. ONNX Runtime's convolutions lay channels out in blocks of
//! 16, but `Split` knows rows of pixels only, so that tensors are turned before it and back behind it. Filters and what
//! follows them know nothing of each other: those of each part on their own give the same numbers, and nothing to split.

use std::collections::{HashMap, HashSet};

use super::{Graph, attribute, put, put_number, replace_graph};
use crate::bundle::onnx::{Field, each_field};

/// `model` without such splits; `None` when it has none.
pub(crate) fn convolve_apart(model: &[u8]) -> Option<Vec<u8>> {
    let graph = Graph::of(model)?;
    let uses = graph.uses();
    let found: HashMap<usize, Splitting<'_>> = (0..graph.nodes.len())
        .filter_map(|number| Some((number, Splitting::at(&graph, &uses, number)?)))
        .collect();
    if found.is_empty() {
        return None;
    }
    let replaced: HashSet<usize> = found.values().flat_map(|splitting| splitting.replaced).collect();
    let mut apart = Vec::new();
    for (number, node) in graph.nodes.iter().enumerate() {
        match found.get(&number) {
            Some(splitting) => splitting.put_parts(&mut apart),
            None if replaced.contains(&number) => {}
            None => put(&mut apart, 1, node.message),
        }
    }
    graph.put_rest(&mut apart);
    replace_graph(model, &apart)
}

/// A convolution, its SiLU and the split of that.
struct Splitting<'a> {
    convolution: &'a [u8],
    input: &'a [u8],
    /// Weights and biases.
    filters: [&'a [u8]; 2],
    /// How many channels each part has.
    sizes: &'a [u8],
    parts: Vec<&'a [u8]>,
    /// Convolution, sigmoid and product.
    replaced: [usize; 3],
}

impl<'a> Splitting<'a> {
    fn at(graph: &Graph<'a>, uses: &HashMap<&[u8], usize>, number: usize) -> Option<Self> {
        let split = &graph.nodes[number];
        let &[product, sizes] = &split.inputs[..] else {
            return None;
        };
        let along_channels = attribute(split.message, "axis", 3) == Some(Field::Number(1));
        if split.operator != b"Split" || !along_channels {
            return None;
        }
        let &[a, b] = graph.behind(product, "Mul")? else {
            return None;
        };
        let gate = |x: &[u8], sigmoid: &[u8]| graph.behind(sigmoid, "Sigmoid") == Some(&[x]);
        let (x, sigmoid) = match (gate(a, b), gate(b, a)) {
            (true, _) => (a, b),
            (_, true) => (b, a),
            _ => return None,
        };
        let &[input, weights, biases] = graph.behind(x, "Conv")? else {
            return None;
        };
        let used = |name: &[u8], times| uses.get(name) == Some(&times);
        if !(used(x, 2) && used(sigmoid, 1) && used(product, 1)) {
            return None;
        }
        let maker = |name: &[u8]| graph.makers.get(name).copied();
        let replaced = [maker(x)?, maker(sigmoid)?, maker(product)?];
        Some(Self {
            convolution: graph.nodes[replaced[0]].message,
            input,
            filters: [weights, biases],
            sizes,
            parts: split.outputs.clone(),
            replaced,
        })
    }

    /// Puts the nodes of all parts. Filters are split by nodes as well: ONNX Runtime does that once, while it optimises.
    fn put_parts(&self, graph: &mut Vec<u8>) {
        let named = |part: &[u8], what: &str| [part, b"/", what.as_bytes()].concat();
        for (filter, what) in self.filters.iter().zip(["weights", "biases"]) {
            let mut node = Vec::new();
            put(&mut node, 1, filter);
            put(&mut node, 1, self.sizes);
            for part in &self.parts {
                put(&mut node, 2, &named(part, what));
            }
            put(&mut node, 4, b"Split");
            // The attribute "axis" is the integer 0, the filters.
            let mut axis = Vec::new();
            put(&mut axis, 1, b"axis");
            put_number(&mut axis, 3, 0);
            put_number(&mut axis, 20, 2);
            put(&mut node, 5, &axis);
            put(graph, 1, &node);
        }
        for &part in &self.parts {
            let (x, sigmoid) = (named(part, "convolved"), named(part, "sigmoid"));
            let (weights, biases) = (named(part, "weights"), named(part, "biases"));
            let mut convolution = Vec::new();
            for name in [self.input, &weights, &biases] {
                put(&mut convolution, 1, name);
            }
            put(&mut convolution, 2, &x);
            put(&mut convolution, 4, b"Conv");
            // It was read without a fault before.
            let _ = each_field(self.convolution, |number, field| {
                if let (5, Field::Bytes(attribute)) = (number, field) {
                    put(&mut convolution, 5, attribute);
                }
                Ok(())
            });
            put(graph, 1, &convolution);
            for (operator, inputs, output) in [
                ("Sigmoid", &[&x[..]][..], &sigmoid[..]),
                ("Mul", &[&x[..], &sigmoid[..]], part),
            ] {
                let mut node = Vec::new();
                inputs.iter().for_each(|name| put(&mut node, 1, name));
                put(&mut node, 2, output);
                put(&mut node, 4, operator.as_bytes());
                put(graph, 1, &node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::demo;
    use super::*;

    fn count(model: &[u8], operator: &str) -> usize {
        let graph = Graph::of(model).unwrap();
        let nodes = graph.nodes.iter();
        nodes.filter(|node| node.operator == operator.as_bytes()).count()
    }

    #[test]
    fn the_eight_blocks_of_yolov8_convolve_halves() {
        let model = demo("detector.fp32.onnx");
        let apart = convolve_apart(&model).unwrap();
        assert_eq!(count(&apart, "Conv"), count(&model, "Conv") + 8);
        // Two of filters for one of pixels.
        assert_eq!(count(&apart, "Split"), count(&model, "Split") + 8);
        assert!(convolve_apart(&apart).is_none(), "there is nothing left to split");
    }

    #[test]
    fn what_has_no_such_split_is_left_alone() {
        // In int8 there is a quantisation between.
        for name in ["detector.int8.onnx", "classifier.fp32.onnx"] {
            assert!(convolve_apart(&demo(name)).is_none(), "{name}");
        }
        assert!(convolve_apart(b"").is_none());
        assert!(convolve_apart(b"no model").is_none());
    }

    #[test]
    fn a_model_that_is_cut_short_is_no_panic() {
        let model = demo("detector.fp32.onnx");
        for end in (0..model.len()).step_by(19_973) {
            let _ = convolve_apart(&model[..end]);
        }
    }
}
