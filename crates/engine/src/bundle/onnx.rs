//! As much of the ONNX file format as is needed to see that a model is complete in itself.
//!
//! A model can keep tensors in other files, by a path in the model ("external data"). No hash covers those, and the path
//! can lead anywhere, so such models are refused before ONNX Runtime sees them. Field numbers are those of
//! `onnx.proto3`; the encoding is that of protocol buffers.

/// Deeper nesting of graphs than any real model has.
const MAX_DEPTH: usize = 32;

/// The name of the first tensor that is kept in another file; `None` when all are inside.
///
/// # Errors
/// When `model` is no `ModelProto`.
pub(super) fn external_data(model: &[u8]) -> Result<Option<String>, &'static str> {
    let mut found = None;
    let mut has_graph = false;
    each_field(model, |number, field| {
        match (number, field) {
            (7, Field::Bytes(graph)) => {
                has_graph = true;
                keep_first(&mut found, in_graph(graph, 0)?);
            }
            // Functions hold nodes at field 7.
            (25, Field::Bytes(function)) => each_field(function, |number, field| {
                if let (7, Field::Bytes(node)) = (number, field) {
                    keep_first(&mut found, in_node(node, 0)?);
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    if !has_graph {
        return Err("it holds no graph");
    }
    Ok(found)
}

fn in_graph(graph: &[u8], depth: usize) -> Result<Option<String>, &'static str> {
    if depth > MAX_DEPTH {
        return Err("its graphs are nested too deeply");
    }
    let mut found = None;
    each_field(graph, |number, field| {
        if let Field::Bytes(bytes) = field {
            match number {
                1 => keep_first(&mut found, in_node(bytes, depth)?),
                5 => keep_first(&mut found, in_tensor(bytes)?),
                15 => keep_first(&mut found, in_sparse_tensor(bytes)?),
                _ => {}
            }
        }
        Ok(())
    })?;
    Ok(found)
}

fn in_node(node: &[u8], depth: usize) -> Result<Option<String>, &'static str> {
    let mut found = None;
    each_field(node, |number, field| {
        let (5, Field::Bytes(attribute)) = (number, field) else {
            return Ok(());
        };
        each_field(attribute, |number, field| {
            if let Field::Bytes(bytes) = field {
                match number {
                    5 | 10 => keep_first(&mut found, in_tensor(bytes)?),
                    6 | 11 => keep_first(&mut found, in_graph(bytes, depth + 1)?),
                    22 | 23 => keep_first(&mut found, in_sparse_tensor(bytes)?),
                    _ => {}
                }
            }
            Ok(())
        })
    })?;
    Ok(found)
}

fn in_sparse_tensor(sparse: &[u8]) -> Result<Option<String>, &'static str> {
    let mut found = None;
    each_field(sparse, |number, field| {
        if let (1 | 2, Field::Bytes(tensor)) = (number, field) {
            keep_first(&mut found, in_tensor(tensor)?);
        }
        Ok(())
    })?;
    Ok(found)
}

fn in_tensor(tensor: &[u8]) -> Result<Option<String>, &'static str> {
    let mut name = String::new();
    let mut external = false;
    each_field(tensor, |number, field| {
        match (number, field) {
            (8, Field::Bytes(bytes)) => name = String::from_utf8_lossy(bytes).into_owned(),
            // external_data, and data_location = EXTERNAL.
            (13, Field::Bytes(_)) | (14, Field::Number(1)) => external = true,
            _ => {}
        }
        Ok(())
    })?;
    Ok(external.then_some(name))
}

fn keep_first(found: &mut Option<String>, next: Option<String>) {
    if found.is_none() {
        *found = next;
    }
}

/// The value of a field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Four bytes or eight.
    Fixed(&'a [u8]),
}

/// Calls `visit` with number and value of every field of `message`.
pub(crate) fn each_field<'a>(
    mut message: &'a [u8],
    mut visit: impl FnMut(u64, Field<'a>) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    const CUT_SHORT: &str = "it ends in the middle of a field";
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let mut take = |length: usize| -> Result<&'a [u8], &'static str> {
            let (head, tail) = message.split_at_checked(length).ok_or(CUT_SHORT)?;
            message = tail;
            Ok(head)
        };
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut message)?),
            1 => Field::Fixed(take(8)?),
            5 => Field::Fixed(take(4)?),
            2 => {
                let length = varint(&mut message)?;
                let length = usize::try_from(length).map_err(|_| CUT_SHORT)?;
                let (head, tail) = message.split_at_checked(length).ok_or(CUT_SHORT)?;
                message = tail;
                Field::Bytes(head)
            }
            _ => return Err("it is no protocol buffer"),
        };
        visit(tag >> 3, field)?;
    }
    Ok(())
}

/// Takes a number off the front of `bytes`.
pub(crate) fn varint(bytes: &mut &[u8]) -> Result<u64, &'static str> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = bytes.split_first().ok_or("it ends in the middle of a number")?;
        *bytes = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("it is no protocol buffer")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u64, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for mut value in [number << 3 | 2, body.len() as u64] {
            while value >= 0x80 {
                bytes.push(value as u8 | 0x80);
                value >>= 7;
            }
            bytes.push(value as u8);
        }
        bytes.extend_from_slice(body);
        bytes
    }

    fn external_tensor() -> Vec<u8> {
        [message(8, b"weights"), vec![14 << 3, 1]].concat()
    }

    #[test]
    fn tensors_in_other_files_are_found_wherever_they_hide() {
        let tensor = external_tensor();
        let attribute_tensor = message(1, &message(5, &message(5, &tensor)));
        let nested_graph = message(1, &message(5, &message(6, &message(5, &tensor))));
        let sparse = message(15, &message(1, &tensor));
        for graph in [message(5, &tensor), attribute_tensor, nested_graph, sparse] {
            assert_eq!(
                external_data(&message(7, &graph)).unwrap().as_deref(),
                Some("weights")
            );
        }
        let function = [
            message(7, b""),
            message(25, &message(7, &message(5, &message(5, &tensor)))),
        ];
        assert_eq!(
            external_data(&function.concat()).unwrap().as_deref(),
            Some("weights")
        );
    }

    #[test]
    fn what_is_no_model_is_refused_without_a_panic() {
        let model = message(7, &message(5, &external_tensor()));
        for end in 0..model.len() {
            assert!(external_data(&model[..end]).is_err(), "{end}");
        }
        assert!(external_data(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
        assert!(external_data(b"not a model at all").is_err());
        let mut deep = message(5, &external_tensor());
        for _ in 0..100 {
            deep = message(1, &message(5, &message(6, &deep)));
        }
        assert!(external_data(&message(7, &deep)).is_err());
    }

    #[test]
    fn the_demo_models_are_complete() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bundles/demo");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "onnx") {
                assert_eq!(
                    external_data(&std::fs::read(&path).unwrap()),
                    Ok(None),
                    "{}",
                    path.display()
                );
                seen += 1;
            }
        }
        assert_eq!(seen, 4);
    }
}
