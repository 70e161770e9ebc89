//! What one photo costs: CPU time and memory, fitted to `docs/benchmarks.md`.

use serde::Serialize;

/// CPU milliseconds of each photo that neither its size nor the networks explain: reading, hashing, results.
const FIXED_MS: f64 = 9.0;
/// CPU milliseconds per megapixel: decoding, scaling, reading the surface.
const MS_PER_MEGAPIXEL: f64 = 6.0;
/// What queue, bucket and frames add to the engine's CPU time (measured: 1.02 to 1.06).
const FLEET_FACTOR: f64 = 1.06;
/// Resident megabytes of the worker process itself, at most (measured: 26.9, its aim is 30).
const WORKER_MB: f64 = 30.0;

/// Number format of the networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floating point.
    Fp32,
    /// Quantised to 8 bits.
    Int8,
}

/// Photos of one kind, and the networks that look at them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Work {
    /// Size of a photo in millions of pixels.
    pub megapixels: f64,
    /// Side in pixels at which the detector looks; the shorter side is three quarters of it.
    pub detector_side: f64,
    /// Of the networks.
    pub precision: Precision,
    /// Speed of a core, where 1 is the measured one (a virtual Zen 4 with AVX-512).
    pub core_speed: f64,
}

impl Work {
    /// CPU milliseconds of detector and classifier. In proportion to the detector's pixels, as measured at 256 and 640.
    pub fn networks_ms(&self) -> f64 {
        let pixels = (self.detector_side / 640.0).powi(2);
        let (detector, classifier) = match self.precision {
            Precision::Fp32 => (61.5, 7.0),
            Precision::Int8 => (25.0, 0.6),
        };
        (detector * pixels + classifier) / self.core_speed
    }

    /// CPU milliseconds of everything but the networks: what cores beside a card still do.
    pub fn beside_ms(&self) -> f64 {
        (FIXED_MS + MS_PER_MEGAPIXEL * self.megapixels) / self.core_speed
    }

    /// CPU milliseconds of a photo by `pitchfleet analyze`.
    pub fn analyze_ms(&self) -> f64 {
        self.beside_ms() + self.networks_ms()
    }

    /// Milliseconds that a photo keeps a core of a worker busy.
    pub fn worker_ms(&self) -> f64 {
        self.analyze_ms() * FLEET_FACTOR
    }

    /// The same of a worker whose networks run on a card.
    pub fn worker_beside_ms(&self) -> f64 {
        self.beside_ms() * FLEET_FACTOR
    }

    /// Photos a second of `cores` cores.
    pub fn rate(&self, cores: f64) -> f64 {
        cores * 1e3 / self.worker_ms()
    }

    /// Resident megabytes of the engine with `lanes` lanes at its peak.
    pub fn engine_mb(&self, lanes: f64) -> f64 {
        let (base, lane) = match self.precision {
            Precision::Fp32 => (62.0, 52.0),
            Precision::Int8 => (54.0, 32.0),
        };
        let wide = if self.detector_side > 320.0 { 10.0 } else { 0.0 };
        base + lanes * (lane + wide + 1.2 * self.megapixels)
    }

    /// Resident megabytes of worker and engine at their peak.
    pub fn peak_mb(&self, lanes: f64) -> f64 {
        WORKER_MB + self.engine_mb(lanes)
    }

    /// The memory limit to give a worker, in steps of 256 MiB: twice its peak, for half of the limit is the budget that
    /// decoded photos share, and photos larger than expected are to wait for each other, not to fail.
    pub fn memory_limit_mib(&self, lanes: f64) -> u64 {
        let wanted = (2.0 * self.peak_mb(lanes)).max(512.0);
        (wanted / 256.0).ceil() as u64 * 256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(megapixels: f64, detector_side: f64, precision: Precision) -> Work {
        Work {
            megapixels,
            detector_side,
            precision,
            core_speed: 1.0,
        }
    }

    /// CPU seconds per photo, "Against the Python worker" in `docs/benchmarks.md`.
    const MEASURED: [(f64, f64, Precision, f64); 8] = [
        (1.2288, 256.0, Precision::Fp32, 0.033),
        (1.2288, 256.0, Precision::Int8, 0.021),
        (1.2288, 640.0, Precision::Fp32, 0.085),
        (1.2288, 640.0, Precision::Int8, 0.042),
        (24.0, 256.0, Precision::Fp32, 0.161),
        (24.0, 256.0, Precision::Int8, 0.157),
        (24.0, 640.0, Precision::Fp32, 0.224),
        (24.0, 640.0, Precision::Int8, 0.181),
    ];

    #[test]
    fn the_model_is_near_every_measured_time() {
        for (megapixels, side, precision, seconds) in MEASURED {
            let modelled = work(megapixels, side, precision).analyze_ms() / 1e3;
            let off = (modelled / seconds - 1.0).abs();
            assert!(
                off < 0.06,
                "{megapixels} MP, {side}, {precision:?}: {modelled:.3} s, measured {seconds}"
            );
        }
    }

    /// Peak megabytes of program and engine, "Engine memory" in `docs/benchmarks.md` (its second columns), at 256 px.
    #[test]
    fn the_model_is_near_every_measured_peak() {
        for (megapixels, lanes, precision, peak) in [
            (2.0, 1.0, Precision::Int8, 86.0),
            (2.0, 1.0, Precision::Fp32, 114.0),
            (2.0, 2.0, Precision::Int8, 118.0),
            (2.0, 2.0, Precision::Fp32, 166.0),
            (24.0, 2.0, Precision::Int8, 171.0),
            (24.0, 2.0, Precision::Fp32, 213.0),
        ] {
            let modelled = work(megapixels, 256.0, precision).engine_mb(lanes);
            let off = (modelled / peak - 1.0).abs();
            assert!(
                off < 0.06,
                "{megapixels} MP, {lanes} lanes, {precision:?}: {modelled:.0} MB, measured {peak}"
            );
        }
    }

    #[test]
    fn a_faster_core_is_faster_and_limits_are_steps() {
        let slow = work(24.0, 640.0, Precision::Int8);
        let fast = Work {
            core_speed: 2.0,
            ..slow
        };
        assert!((slow.worker_ms() / fast.worker_ms() - 2.0).abs() < 1e-9);
        assert_eq!(work(1.0, 256.0, Precision::Int8).memory_limit_mib(1.0), 512);
        // 30 + 54 + 8 * (32 + 10 + 28.8) = 650.4, doubled 1300.8: six steps.
        assert_eq!(slow.memory_limit_mib(8.0), 1536);
    }
}
