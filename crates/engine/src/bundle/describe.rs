//! What an ONNX file says about itself, for people: inputs, outputs, metadata. Read from the file, not from a session,
//! so that looking at a model runs nothing.

use super::onnx::{Field, each_field};

/// Facts about a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelFacts {
    /// `name type[shape]` of each input that is no weight.
    pub inputs: Vec<String>,
    /// `name type[shape]` of each output.
    pub outputs: Vec<String>,
    /// The metadata that its exporter wrote, such as `imgsz`, `stride`, `names`.
    pub metadata: Vec<(String, String)>,
}

/// Reads the facts of `model`, a `ModelProto` of `onnx.proto3`.
///
/// # Errors
/// When it is none.
pub fn describe(model: &[u8]) -> Result<ModelFacts, &'static str> {
    let mut facts = ModelFacts::default();
    each_field(model, |number, field| {
        match (number, field) {
            (7, Field::Bytes(graph)) => read_graph(graph, &mut facts)?,
            (14, Field::Bytes(entry)) => facts.metadata.push(read_entry(entry)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(facts)
}

fn read_graph(graph: &[u8], facts: &mut ModelFacts) -> Result<(), &'static str> {
    let mut weights = Vec::new();
    let mut inputs = Vec::new();
    each_field(graph, |number, field| {
        match (number, field) {
            // Before IR version 4 every weight was an input, too.
            (5, Field::Bytes(tensor)) => weights.push(read_text(tensor, 8)?),
            (11, Field::Bytes(value)) => inputs.push(read_value(value)?),
            (12, Field::Bytes(value)) => {
                let (name, kind) = read_value(value)?;
                facts.outputs.push(format!("{name} {kind}"));
            }
            _ => {}
        }
        Ok(())
    })?;
    inputs.retain(|(name, _)| !weights.contains(name));
    facts
        .inputs
        .extend(inputs.into_iter().map(|(name, kind)| format!("{name} {kind}")));
    Ok(())
}

/// Name and type of a `ValueInfoProto`.
fn read_value(value: &[u8]) -> Result<(String, String), &'static str> {
    let mut kind = String::from("?");
    each_field(value, |number, field| {
        let (2, Field::Bytes(type_proto)) = (number, field) else {
            return Ok(());
        };
        each_field(type_proto, |number, field| {
            if let (1, Field::Bytes(tensor)) = (number, field) {
                kind = read_tensor_type(tensor)?;
            }
            Ok(())
        })
    })?;
    Ok((read_text(value, 1)?, kind))
}

fn read_tensor_type(tensor: &[u8]) -> Result<String, &'static str> {
    let mut element = "?";
    let mut sides = Vec::new();
    each_field(tensor, |number, field| {
        match (number, field) {
            (1, Field::Number(code)) => element = element_name(code),
            (2, Field::Bytes(shape)) => each_field(shape, |number, field| {
                if let (1, Field::Bytes(side)) = (number, field) {
                    sides.push(read_side(side)?);
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(format!("{element}[{}]", sides.join(", ")))
}

/// A number, or the name that stands for one.
fn read_side(side: &[u8]) -> Result<String, &'static str> {
    let mut text = String::from("?");
    each_field(side, |number, field| {
        match (number, field) {
            (1, Field::Number(value)) => text = value.to_string(),
            (2, Field::Bytes(name)) => text = String::from_utf8_lossy(name).into_owned(),
            _ => {}
        }
        Ok(())
    })?;
    Ok(text)
}

fn read_entry(entry: &[u8]) -> Result<(String, String), &'static str> {
    Ok((read_text(entry, 1)?, read_text(entry, 2)?))
}

/// The last text in field `wanted`.
fn read_text(message: &[u8], wanted: u64) -> Result<String, &'static str> {
    let mut text = String::new();
    each_field(message, |number, field| {
        match field {
            Field::Bytes(bytes) if number == wanted => text = String::from_utf8_lossy(bytes).into_owned(),
            _ => {}
        }
        Ok(())
    })?;
    Ok(text)
}

/// `TensorProto.DataType`.
const fn element_name(code: u64) -> &'static str {
    match code {
        1 => "float32",
        2 => "uint8",
        3 => "int8",
        6 => "int32",
        7 => "int64",
        9 => "bool",
        10 => "float16",
        11 => "float64",
        16 => "bfloat16",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_models_are_described() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bundles/demo");
        let read = |name: &str| std::fs::read(format!("{folder}/{name}")).unwrap();
        let detector = describe(&read("detector.fp32.onnx")).unwrap();
        assert_eq!(detector.inputs, ["images float32[batch, 3, height, width]"]);
        assert_eq!(detector.outputs.len(), 1);
        assert!(
            detector
                .metadata
                .iter()
                .any(|(key, value)| key == "stride" && value == "32")
        );
        let classifier = describe(&read("classifier.int8.onnx")).unwrap();
        assert_eq!(classifier.inputs.len(), 1);
        assert!(
            classifier.inputs[0].ends_with("224, 224]"),
            "{:?}",
            classifier.inputs
        );
    }

    #[test]
    fn what_is_no_model_is_refused() {
        assert!(describe(b"not a model at all").is_err());
    }
}
