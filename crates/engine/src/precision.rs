//! Which of a bundle's model files runs, and why. Pure: what the processor has is told.

use crate::bundle::{Bundle, Network};
use crate::config::{Precision, PrecisionChoice};
use crate::failure::{EngineError, EngineErrorKind};

/// Precisions and why they were taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picked {
    pub(crate) detector: Precision,
    pub(crate) classifier: Precision,
    pub(crate) reason: String,
}

/// The instructions that make 8-bit networks twice as fast as 32-bit ones, if this processor has them.
pub(crate) fn int8_instructions() -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512vnni") {
            return Some("avx512_vnni");
        }
        if std::is_x86_feature_detected!("avxvnni") {
            return Some("avx_vnni");
        }
    }
    None
}

/// Picks from `bundle`, for a CPU with the `int8` instructions named, or for a GPU.
///
/// # Errors
/// [`EngineErrorKind::PrecisionMissing`] when the bundle lacks what was asked for by name.
pub(crate) fn pick(
    choice: PrecisionChoice,
    bundle: &Bundle,
    on_gpu: bool,
    int8: Option<&'static str>,
) -> Result<Picked, EngineError> {
    let (wanted, reason) = match choice {
        PrecisionChoice::Fp32 => (Precision::Fp32, String::new()),
        PrecisionChoice::Int8 => (Precision::Int8, String::new()),
        PrecisionChoice::Auto if on_gpu => (Precision::Fp16, "a GPU is fastest with fp16".to_owned()),
        PrecisionChoice::Auto => match int8 {
            Some(instructions) => (Precision::Int8, format!("the processor has {instructions}")),
            None => (
                Precision::Fp32,
                "the processor has neither avx512_vnni nor avx_vnni".to_owned(),
            ),
        },
    };
    let mut reasons: Vec<String> = Some(reason)
        .filter(|reason| !reason.is_empty())
        .into_iter()
        .collect();
    let mut of = |network: Network| -> Result<Precision, EngineError> {
        let available = bundle.precisions(network);
        if available.contains(&wanted) {
            return Ok(wanted);
        }
        let mut others = available.iter().copied();
        match (choice, others.find(|&other| on_gpu || other != Precision::Fp16)) {
            (PrecisionChoice::Auto, Some(other)) => {
                reasons.push(format!("the bundle has no {wanted} {}", network.name()));
                Ok(other)
            }
            _ => Err(EngineError::new(
                EngineErrorKind::PrecisionMissing,
                format!(
                    "the bundle in {} has no {wanted} {}",
                    bundle.folder().display(),
                    network.name()
                ),
            )),
        }
    };
    let (detector, classifier) = (of(Network::Detector)?, of(Network::Classifier)?);
    Ok(Picked {
        detector,
        classifier,
        reason: reasons.join("; "),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn auto_takes_what_the_processor_runs_fastest() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bundles/demo");
        let bundle = Bundle::open(Path::new(folder)).unwrap();
        for (choice, on_gpu, int8, precision, reason) in [
            (
                PrecisionChoice::Auto,
                false,
                Some("avx_vnni"),
                Precision::Int8,
                "avx_vnni",
            ),
            (PrecisionChoice::Auto, false, None, Precision::Fp32, "neither"),
            (
                PrecisionChoice::Auto,
                true,
                Some("avx_vnni"),
                Precision::Fp32,
                "GPU",
            ),
            (
                PrecisionChoice::Fp32,
                false,
                Some("avx_vnni"),
                Precision::Fp32,
                "",
            ),
            (PrecisionChoice::Int8, false, None, Precision::Int8, ""),
        ] {
            let picked = pick(choice, &bundle, on_gpu, int8).unwrap();
            assert_eq!((picked.detector, picked.classifier), (precision, precision));
            assert!(picked.reason.contains(reason), "{}", picked.reason);
        }
    }

    #[test]
    fn fp16_is_for_cards() {
        let folder = tempfile::tempdir().unwrap();
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bundles/demo/bundle.toml");
        let mut table: toml::Table = std::fs::read_to_string(demo).unwrap().parse().unwrap();
        for network in ["detector", "classifier"] {
            let entry = table[network].as_table_mut().unwrap();
            let half = entry["fp32"].clone();
            entry.insert("fp16".to_owned(), half);
        }
        std::fs::write(folder.path().join("bundle.toml"), table.to_string()).unwrap();
        let bundle = Bundle::open(folder.path()).unwrap();
        for (choice, on_gpu, int8, precision) in [
            (PrecisionChoice::Auto, true, None, Precision::Fp16),
            (PrecisionChoice::Auto, false, None, Precision::Fp32),
            (PrecisionChoice::Auto, false, Some("avx_vnni"), Precision::Int8),
            (PrecisionChoice::Fp32, true, None, Precision::Fp32),
        ] {
            let picked = pick(choice, &bundle, on_gpu, int8).unwrap();
            assert_eq!((picked.detector, picked.classifier), (precision, precision));
        }
    }

    #[test]
    fn what_the_bundle_lacks_is_replaced_only_under_auto() {
        let folder = tempfile::tempdir().unwrap();
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bundles/demo/bundle.toml");
        let text = std::fs::read_to_string(demo).unwrap();
        let without = text.replace("[classifier.int8]", "[classifier.gone]");
        let mut table: toml::Table = without.parse().unwrap();
        if let Some(toml::Value::Table(classifier)) = table.get_mut("classifier") {
            classifier.remove("gone");
        }
        std::fs::write(folder.path().join("bundle.toml"), table.to_string()).unwrap();
        let bundle = Bundle::open(folder.path()).unwrap();

        let picked = pick(PrecisionChoice::Auto, &bundle, false, Some("avx_vnni")).unwrap();
        assert_eq!(
            (picked.detector, picked.classifier),
            (Precision::Int8, Precision::Fp32)
        );
        assert!(picked.reason.contains("no int8 classifier"), "{}", picked.reason);
        let error = pick(PrecisionChoice::Int8, &bundle, false, None).unwrap_err();
        assert_eq!(error.kind, EngineErrorKind::PrecisionMissing);
    }
}
