//! Takes the decoding of boxes off the end of a detector's graph.
//!
//! YOLOv8 gives, for every anchor and each side of its box, a distribution over sixteen distances. The graph that
//! ultralytics exports ends in the expectation of each: a softmax over 25,000 rows of sixteen numbers, which takes ONNX
//! Runtime 4 ms, of 29 for the whole network in int8 on 640 x 480, for boxes of which a handful passes the threshold.
//! [`pitch::detect::boxes`] does the same for those only.

use std::collections::HashSet;

use pitch::networks::DISTANCES;

use super::{Graph, put, replace_graph};
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
    let graph = Graph::of(model)?;
    let ends = ends(&graph)?;
    Some(Cut {
        model: replace_graph(model, &up_to(&graph, [ends.distributions, ends.scores]))?,
        levels: ends.levels,
    })
}

/// What a graph's end begins with.
struct Ends<'a> {
    distributions: &'a [u8],
    scores: &'a [u8],
    levels: u32,
}

/// Follows the graph from its output to where the decoding begins.
fn ends<'a>(graph: &Graph<'a>) -> Option<Ends<'a>> {
    let &[(output, _)] = &graph.outputs[..] else {
        return None;
    };
    let &[boxes, scores] = graph.behind(output, "Concat")? else {
        return None;
    };
    graph.behind(scores, "Sigmoid")?;
    let &[in_strides, _strides] = graph.behind(boxes, "Mul")? else {
        return None;
    };
    let &[centre, size] = graph.behind(in_strides, "Concat")? else {
        return None;
    };
    // Centre and size of a box whose corners are the anchor less and plus distances.
    let &[last, first] = graph.behind(size, "Sub")? else {
        return None;
    };
    let &sum = graph.behind(centre, "Div")?.first()?;
    let summands = graph.behind(sum, "Add")?;
    if summands != [first, last] && summands != [last, first] {
        return None;
    }
    let &[anchor, before] = graph.behind(first, "Sub")? else {
        return None;
    };
    let &[same_anchor, behind] = graph.behind(last, "Add")? else {
        return None;
    };
    let &distances = graph.behind(before, "Slice")?.first()?;
    if anchor != same_anchor || graph.behind(behind, "Slice")?.first() != Some(&distances) {
        return None;
    }
    let &flat = graph.behind(distances, "Reshape")?.first()?;
    let &[probabilities, weights] = graph.behind(flat, "Conv")? else {
        return None;
    };
    let (positions, []) = raw_floats(graph.initializers.get(weights)?)?.as_chunks::<4>() else {
        return None;
    };
    // Weights that are an average of several trainings are not quite whole.
    let whole = |(bin, &weight): (usize, &[u8; 4])| (f32::from_le_bytes(weight) - bin as f32).abs() < 1e-4;
    if positions.len() != DISTANCES || !positions.iter().enumerate().all(whole) {
        return None;
    }
    let &turned = graph.behind(probabilities, "Softmax")?.first()?;
    let &split = graph.behind(turned, "Transpose")?.first()?;
    let &distributions = graph.behind(split, "Reshape")?.first()?;
    // Older exports join distributions and scores first, and split them again.
    let joined = match graph.behind(distributions, "Split") {
        Some(inputs) => inputs.first()?,
        None => distributions,
    };
    let levels = graph.behind(joined, "Concat")?;
    levels
        .iter()
        .try_for_each(|level| graph.behind(level, "Reshape").map(|_| ()))?;
    Some(Ends {
        distributions,
        scores,
        levels: u32::try_from(levels.len()).ok()?,
    })
}

/// The graph with these outputs, and only the nodes that they need.
fn up_to<'a>(graph: &Graph<'a>, outputs: [&'a [u8]; 2]) -> Vec<u8> {
    let mut needed = HashSet::new();
    let mut wanted = outputs.to_vec();
    while let Some(name) = wanted.pop() {
        if let Some(&node) = graph.makers.get(name)
            && needed.insert(node)
        {
            wanted.extend(&graph.nodes[node].inputs);
        }
    }
    let mut shortened = Vec::new();
    for (number, node) in graph.nodes.iter().enumerate() {
        if needed.contains(&number) {
            put(&mut shortened, 1, node.message);
        }
    }
    for (number, message) in &graph.others {
        put(&mut shortened, *number, message);
    }
    for name in outputs {
        // A name, and the type "tensor of 32-bit floats".
        let mut output = Vec::new();
        put(&mut output, 1, name);
        put(&mut output, 2, &[1 << 3 | 2, 2, 1 << 3, 1]);
        put(&mut shortened, 12, &output);
    }
    shortened
}

/// The bytes of a tensor of 32-bit floats.
fn raw_floats(tensor: &[u8]) -> Option<&[u8]> {
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

#[cfg(test)]
mod tests {
    use super::super::tests::demo;
    use super::*;

    #[test]
    fn the_demo_detectors_are_cut_before_the_softmax() {
        for name in ["detector.fp32.onnx", "detector.int8.onnx"] {
            let model = demo(name);
            let cut = cut(&model).unwrap();
            assert_eq!(cut.levels, 3, "{name}");
            let shortened = Graph::of(&cut.model).unwrap();
            assert_eq!(shortened.outputs.len(), 2);
            assert!(
                shortened
                    .outputs
                    .iter()
                    .all(|(name, _)| shortened.makers.contains_key(name))
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
