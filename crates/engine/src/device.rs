//! Which device runs the networks, and why. Pure: what the machine has is told.

use crate::config::Device;
use crate::failure::{EngineError, EngineErrorKind};

/// What the machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// The ONNX Runtime library has the CUDA execution provider.
    pub(crate) provider: bool,
    /// The NVIDIA driver is loaded.
    pub(crate) driver: bool,
    /// Cards that the driver serves.
    pub(crate) cards: u32,
}

impl Machine {
    /// Looks at this one.
    pub(crate) fn probe(provider: bool) -> Self {
        let is_card = |name: &str| {
            name.strip_prefix("nvidia")
                .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let cards = std::fs::read_dir("/dev")
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(is_card))
            .count();
        Self {
            provider,
            driver: has_driver(),
            cards: u32::try_from(cards).unwrap_or(u32::MAX),
        }
    }
}

/// Whether the NVIDIA driver is loaded.
pub(crate) fn has_driver() -> bool {
    std::path::Path::new("/proc/driver/nvidia/version").exists()
        || std::path::Path::new("/dev/nvidiactl").exists()
}

/// A device and why it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The card; `None` is the CPU.
    pub(crate) card: Option<u32>,
    /// Empty when it is what was asked for by name.
    pub(crate) reason: String,
}

impl Choice {
    /// ONNX Runtime's name of the execution provider.
    pub(crate) fn provider(&self) -> &'static str {
        provider_name(self.card.is_some())
    }
}

/// ONNX Runtime's name of an execution provider.
pub(crate) fn provider_name(cuda: bool) -> &'static str {
    if cuda {
        "CUDAExecutionProvider"
    } else {
        "CPUExecutionProvider"
    }
}

/// Chooses.
///
/// # Errors
/// [`EngineErrorKind::DeviceUnavailable`] when a card was asked for by number, is not there, and the CPU may not replace
/// it.
pub(crate) fn choose(asked: Device, machine: &Machine, allow_fallback: bool) -> Result<Choice, EngineError> {
    let card = match asked {
        Device::Cpu => {
            return Ok(Choice {
                card: None,
                reason: String::new(),
            });
        }
        Device::Auto => 0,
        Device::Cuda(card) => card,
    };
    let obstacle = if !machine.driver {
        "no NVIDIA driver is loaded".to_owned()
    } else if machine.cards <= card {
        format!("there is no card {card}, the driver serves {}", machine.cards)
    } else if !machine.provider {
        "the ONNX Runtime library has no CUDA execution provider (scripts/onnxruntime.sh --gpu fetches one)"
            .to_owned()
    } else {
        return Ok(Choice {
            card: Some(card),
            reason: match asked {
                Device::Auto => "library, driver and card are there".to_owned(),
                _ => String::new(),
            },
        });
    };
    fall_back(asked, &obstacle, allow_fallback)
}

/// The CPU instead of a card, if that is allowed.
///
/// # Errors
/// As [`choose`].
pub(crate) fn fall_back(asked: Device, obstacle: &str, allow_fallback: bool) -> Result<Choice, EngineError> {
    if asked == Device::Auto || allow_fallback {
        Ok(Choice {
            card: None,
            reason: obstacle.to_owned(),
        })
    } else {
        Err(EngineError::new(
            EngineErrorKind::DeviceUnavailable,
            format!(
                "the device {asked} cannot be used: {obstacle}. Ask for `auto` or `cpu`, or allow the CPU to replace it"
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_taken_only_when_all_of_it_is_there() {
        let machine = |provider, driver, cards| Machine {
            provider,
            driver,
            cards,
        };
        let full = machine(true, true, 2);
        for (asked, machine, fallback, card, reason) in [
            (Device::Auto, &full, false, Some(0), "are there"),
            (Device::Cpu, &full, false, None, ""),
            (Device::Cuda(1), &full, false, Some(1), ""),
            (Device::Auto, &machine(true, false, 0), false, None, "driver"),
            (Device::Auto, &machine(true, true, 0), false, None, "no card 0"),
            (Device::Auto, &machine(false, true, 1), false, None, "--gpu"),
            (Device::Cuda(2), &full, true, None, "no card 2"),
        ] {
            let choice = choose(asked, machine, fallback).unwrap();
            assert_eq!(choice.card, card);
            assert!(choice.reason.contains(reason), "{asked}: {}", choice.reason);
        }
        let error = choose(Device::Cuda(2), &full, false).unwrap_err();
        assert_eq!(error.kind, EngineErrorKind::DeviceUnavailable);
        assert!(error.message.contains("cuda:2"), "{error}");
    }
}
