//! What a photo may cost, checked before any pixel is allocated.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::error::PhotoError;

/// What a photo may cost at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of the file.
    pub max_bytes: u64,
    /// Width times height.
    pub max_pixels: u64,
    /// Pixels on the longer side.
    pub max_side: u64,
    /// Bytes that decoding may hold at once, the coefficients of a progressive JPEG included.
    pub max_memory: u64,
    /// Time for decoding one photo, from [`open`](super::open) on. Checked between rows and scans where the decoder
    /// hands out rows (JPEG, PNG that is not interlaced); what decodes in one call (WebP, TIFF, HEIC) is checked after
    /// it, so whoever calls needs a deadline of its own around the process.
    #[serde(with = "seconds")]
    pub decode_time: Duration,
}

impl Default for Limits {
    /// 64 MiB encoded, 100 megapixels, 32,768 pixels a side, 1 GiB of memory, 20 seconds.
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_pixels: 100_000_000,
            max_side: 32_768,
            max_memory: 1 << 30,
            decode_time: Duration::from_secs(20),
        }
    }
}

impl Limits {
    pub(super) fn check_bytes(&self, bytes: usize) -> Result<(), PhotoError> {
        if bytes == 0 {
            return Err(PhotoError::EmptyFile);
        }
        let bytes = bytes as u64;
        if bytes > self.max_bytes {
            return Err(PhotoError::TooManyBytes {
                bytes,
                limit: self.max_bytes,
            });
        }
        Ok(())
    }

    pub(super) fn check_size(&self, width: u64, height: u64) -> Result<(), PhotoError> {
        if width == 0 || height == 0 {
            return Err(PhotoError::ZeroDimension);
        }
        let side = width.max(height);
        if side > self.max_side {
            return Err(PhotoError::SideTooLong {
                side,
                limit: self.max_side,
            });
        }
        if width.saturating_mul(height) > self.max_pixels {
            return Err(PhotoError::TooManyPixels {
                width,
                height,
                limit: self.max_pixels,
            });
        }
        Ok(())
    }

    pub(super) fn check_memory(&self, bytes: u64) -> Result<(), PhotoError> {
        if bytes > self.max_memory {
            return Err(PhotoError::TooMuchMemory {
                bytes,
                limit: self.max_memory,
            });
        }
        Ok(())
    }
}

/// The moment at which decoding has to be done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    /// `None` when the limit reaches further than the clock does.
    end: Option<Instant>,
    limit: Duration,
}

impl Deadline {
    pub(super) fn after(limit: Duration) -> Self {
        Self {
            end: Instant::now().checked_add(limit),
            limit,
        }
    }

    pub(super) fn check(&self) -> Result<(), PhotoError> {
        match self.end {
            Some(end) if Instant::now() > end => Err(PhotoError::DecodeTimeout {
                limit_ms: u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX),
            }),
            _ => Ok(()),
        }
    }
}

/// A duration as a number of seconds.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::photo::PhotoErrorKind;

    #[test]
    fn each_limit_has_its_own_kind() {
        let limits = Limits::default();
        let kind = |result: Result<(), PhotoError>| result.unwrap_err().kind();
        assert_eq!(kind(limits.check_bytes(0)), PhotoErrorKind::EmptyFile);
        assert_eq!(
            kind(limits.check_bytes((64 << 20) + 1)),
            PhotoErrorKind::TooManyBytes
        );
        assert_eq!(kind(limits.check_size(0, 5)), PhotoErrorKind::ZeroDimension);
        assert_eq!(kind(limits.check_size(32_769, 5)), PhotoErrorKind::SideTooLong);
        assert_eq!(
            kind(limits.check_size(10_001, 10_000)),
            PhotoErrorKind::TooManyPixels
        );
        assert_eq!(limits.check_size(10_000, 10_000), Ok(()));
        assert_eq!(
            kind(limits.check_memory((1 << 30) + 1)),
            PhotoErrorKind::TooMuchMemory
        );
    }

    #[test]
    fn limits_are_read_from_partial_settings() {
        let limits: Limits = serde_json::from_str(r#"{"max_pixels": 5, "decode_time": 0.5}"#).unwrap();
        assert_eq!(limits.max_pixels, 5);
        assert_eq!(limits.decode_time, Duration::from_millis(500));
        assert_eq!(limits.max_side, 32_768);
        assert!(serde_json::from_str::<Limits>(r#"{"decode_time": -1.0}"#).is_err());
        assert!(serde_json::from_str::<Limits>(r#"{"max_pixel": 5}"#).is_err());
    }
}
