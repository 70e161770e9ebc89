//! Takes the decoding of boxes off the end of a detector's graph.
//!
//! YOLOv8 gives, for every anchor and each side of its box, a distribution over sixteen distances. The graph that
//! ultralytics exports ends in the expectation of each: a softmax over 25,000 rows of sixteen numbers, which takes ONNX
//! Runtime 4 ms, of 29 for the whole network in int8 on 640 x 480, for boxes of which a handful passes the threshold.
//! [`pitch::detect::boxes`] does the same for those only.
//!
//! The file stays as it is: the graph is cut in memory, and only when it ends exactly as ultralytics' do.

use std::collections::{HashMap, HashSet};

use pitch::networks::DISTANCES;

use crate::bundle::onnx::{Field, each_field};

/// A model without its end.
pub(crate) struct Cut {
    /// A `ModelProto` with two outputs: the distributions, `N x 64 x anchors`, and the scores, `N x classes x anchors`.
    pub(crate) model: Vec<u8>,
    /// Feature maps that the anchors come from, finest first, each of twice the stride of the one before.
    pub(crate) levels: u32,
}

/// Cuts `model`; `None` when it does not end in the decoding that is known here.
pub(crate) fn cut(model: &[u8]) -> Option<Cut> {
    let mut graph = None;
    each_field(model, |number, field| {
        if let (7, Field::Bytes(bytes)) = (number, field) {
            graph = Some(bytes);
        }
        Ok(())
    })
    .ok()?;
    let graph = Graph::read(graph?)?;
    let ends = graph.ends()?;
    let shortened = graph.up_to([ends.distributions, ends.scores]);
    let mut cut = Vec::with_capacity(model.len());
    each_field(model, |number, field| {
        match (number, field) {
            (7, _) => put(&mut cut, 7, &shortened),
            (_, Field::Bytes(bytes)) => put(&mut cut, number, bytes),
            (_, Field::Number(value)) => {
                put_varint(&mut cut, number << 3);
                put_varint(&mut cut, value);
            }
            // A model has none.
            (_, Field::Fixed) => return Err("a field of fixed length"),
        }
        Ok(())
    })
    .ok()?;
    Some(Cut {
        model: cut,
        levels: ends.levels,
    })
}

struct Graph<'a> {
    nodes: Vec<Node<'a>>,
    /// Node by the name of what it gives.
    makers: HashMap<&'a [u8], usize>,
    /// Tensor by name.
    initializers: HashMap<&'a [u8], &'a [u8]>,
    outputs: Vec<&'a [u8]>,
    /// Everything but nodes and outputs.
    others: Vec<(u64, &'a [u8])>,
}

struct Node<'a> {
    message: &'a [u8],
    operator: &'a [u8],
    inputs: Vec<&'a [u8]>,
}

/// What a graph's end begins with.
struct Ends<'a> {
    distributions: &'a [u8],
    scores: &'a [u8],
    levels: u32,
}

impl<'a> Graph<'a> {
    /// `None` when it is not understood, or has graphs within it, which may use what is not listed among a node's inputs.
    fn read(message: &'a [u8]) -> Option<Self> {
        let mut graph = Self {
            nodes: Vec::new(),
            makers: HashMap::new(),
            initializers: HashMap::new(),
            outputs: Vec::new(),
            others: Vec::new(),
        };
        each_field(message, |number, field| {
            let Field::Bytes(bytes) = field else {
                return Err("a number in a graph");
            };
            match number {
                1 => graph.add_node(bytes)?,
                12 => graph.outputs.push(text(bytes, 1)?),
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
        };
        each_field(message, |number, field| {
            match (number, field) {
                (1, Field::Bytes(name)) => node.inputs.push(name),
                (2, Field::Bytes(name)) => {
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

    /// The inputs of the node that makes `name`, if it is an `operator`.
    fn behind(&self, name: &[u8], operator: &str) -> Option<&[&'a [u8]]> {
        let node = &self.nodes[*self.makers.get(name)?];
        (node.operator == operator.as_bytes()).then_some(&node.inputs)
    }

    /// Follows the graph from its output to where the decoding begins.
    fn ends(&self) -> Option<Ends<'a>> {
        let &[output] = &self.outputs[..] else {
            return None;
        };
        let &[boxes, scores] = self.behind(output, "Concat")? else {
            return None;
        };
        self.behind(scores, "Sigmoid")?;
        let &[in_strides, _strides] = self.behind(boxes, "Mul")? else {
            return None;
        };
        let &[centre, size] = self.behind(in_strides, "Concat")? else {
            return None;
        };
        // Centre and size of a box whose corners are the anchor less and plus distances.
        let &[last, first] = self.behind(size, "Sub")? else {
            return None;
        };
        let &sum = self.behind(centre, "Div")?.first()?;
        let summands = self.behind(sum, "Add")?;
        if summands != [first, last] && summands != [last, first] {
            return None;
        }
        let &[anchor, before] = self.behind(first, "Sub")? else {
            return None;
        };
        let &[same_anchor, behind] = self.behind(last, "Add")? else {
            return None;
        };
        let &distances = self.behind(before, "Slice")?.first()?;
        if anchor != same_anchor || self.behind(behind, "Slice")?.first() != Some(&distances) {
            return None;
        }
        let &flat = self.behind(distances, "Reshape")?.first()?;
        let &[probabilities, weights] = self.behind(flat, "Conv")? else {
            return None;
        };
        let (positions, []) = raw_data(self.initializers.get(weights)?)?.as_chunks::<4>() else {
            return None;
        };
        // Weights that are an average of several trainings are not quite whole.
        let whole =
            |(bin, &weight): (usize, &[u8; 4])| (f32::from_le_bytes(weight) - bin as f32).abs() < 1e-4;
        if positions.len() != DISTANCES || !positions.iter().enumerate().all(whole) {
            return None;
        }
        let &turned = self.behind(probabilities, "Softmax")?.first()?;
        let &split = self.behind(turned, "Transpose")?.first()?;
        let &distributions = self.behind(split, "Reshape")?.first()?;
        // Older exports join distributions and scores first, and split them again.
        let joined = match self.behind(distributions, "Split") {
            Some(inputs) => inputs.first()?,
            None => distributions,
        };
        let levels = self.behind(joined, "Concat")?;
        levels
            .iter()
            .try_for_each(|level| self.behind(level, "Reshape").map(|_| ()))?;
        Some(Ends {
            distributions,
            scores,
            levels: u32::try_from(levels.len()).ok()?,
        })
    }

    /// The graph with these outputs, and only the nodes that they need.
    fn up_to(&self, outputs: [&'a [u8]; 2]) -> Vec<u8> {
        let mut needed = HashSet::new();
        let mut wanted = outputs.to_vec();
        while let Some(name) = wanted.pop() {
            if let Some(&node) = self.makers.get(name)
                && needed.insert(node)
            {
                wanted.extend(&self.nodes[node].inputs);
            }
        }
        let mut graph = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            if needed.contains(&number) {
                put(&mut graph, 1, node.message);
            }
        }
        for (number, message) in &self.others {
            put(&mut graph, *number, message);
        }
        for name in outputs {
            // A name, and the type "tensor of 32-bit floats".
            let mut output = Vec::new();
            put(&mut output, 1, name);
            put(&mut output, 2, &[1 << 3 | 2, 2, 1 << 3, 1]);
            put(&mut graph, 12, &output);
        }
        graph
    }
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

/// The bytes of a tensor of 32-bit floats.
fn raw_data(tensor: &[u8]) -> Option<&[u8]> {
    let mut is_float = false;
    let mut data = None;
    each_field(tensor, |number, field| {
        match (number, field) {
            (2, Field::Number(kind)) => is_float = kind == 1,
            (9, Field::Bytes(bytes)) => data = Some(bytes),
            _ => {}
        }
        Ok(())
    })
    .ok()?;
    data.filter(|_| is_float)
}

fn put(message: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(message, number << 3 | 2);
    put_varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
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
    use std::fs;

    use super::*;

    fn demo(name: &str) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bundles/demo");
        fs::read(format!("{folder}/{name}")).unwrap()
    }

    fn graph(model: &[u8]) -> &[u8] {
        let mut graph = None;
        each_field(model, |number, field| {
            if let (7, Field::Bytes(bytes)) = (number, field) {
                graph = Some(bytes);
            }
            Ok(())
        })
        .unwrap();
        graph.unwrap()
    }

    #[test]
    fn the_demo_detectors_are_cut_before_the_softmax() {
        for name in ["detector.fp32.onnx", "detector.int8.onnx"] {
            let model = demo(name);
            let cut = cut(&model).unwrap();
            assert_eq!(cut.levels, 3, "{name}");
            let shortened = Graph::read(graph(&cut.model)).unwrap();
            assert_eq!(shortened.outputs.len(), 2);
            assert!(
                shortened
                    .outputs
                    .iter()
                    .all(|name| shortened.makers.contains_key(name))
            );
            assert!(shortened.nodes.iter().all(|node| node.operator != b"Softmax"));
            // Nothing that is kept misses what it needs.
            let given: HashSet<&[u8]> = shortened.initializers.keys().copied().collect();
            for input in shortened.nodes.iter().flat_map(|node| &node.inputs) {
                let known = shortened.makers.contains_key(input) || given.contains(input);
                assert!(known || *input == b"images" || input.is_empty(), "{name}");
            }
            assert!(super::cut(&cut.model).is_none(), "there is nothing left to cut");
        }
    }

    #[test]
    fn what_ends_otherwise_is_left_alone() {
        assert!(cut(&demo("classifier.fp32.onnx")).is_none());
        assert!(cut(b"").is_none());
        assert!(cut(b"no model").is_none());
        // Distances of another spacing.
        let mut model = demo("detector.fp32.onnx");
        let first: Vec<u8> = (0..12)
            .flat_map(|distance: u8| f32::from(distance).to_le_bytes())
            .collect();
        let at = model
            .windows(first.len())
            .position(|bytes| bytes == first)
            .unwrap();
        model[at..at + 4].copy_from_slice(&0.5f32.to_le_bytes());
        assert!(cut(&model).is_none());
    }

    #[test]
    fn a_model_that_is_cut_short_is_no_panic() {
        let model = demo("detector.int8.onnx");
        for end in (0..model.len()).step_by(9973) {
            let _ = cut(&model[..end]);
        }
    }
}
